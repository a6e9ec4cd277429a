//! `sessionfold sessions show`.

use std::{fmt::Write, process::ExitCode};

use clap::Args;

use crate::{
    cli::{
        CommandResult,
        progress::grouped,
        terminal::{Colour, Terminal, cut, print, visible},
    },
    event::SessionId,
    store::{SessionDetail, SessionView, Store, TransitionLine},
};

use super::{
    list::colour_of,
    text::{counted, duration, instant, quoted},
    unknown,
};

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The session to show
    #[arg(value_name = "SESSION", value_parser = SessionId::parse)]
    session: SessionId,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(store: &Store, args: ShowArgs) -> CommandResult {
    let Some(detail) = store.session_detail(&args.session).await? else {
        return Err(unknown(store, &args.session).await);
    };
    let text =
        if args.json { format!("{}\n", serde_json::to_string(&detail)?) } else { card(&detail, Terminal::of_stdout()) };
    let _ = print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What stands in front of each line.
const NAMES: usize = 13;

/// A session for people to read.
pub(super) fn card(detail: &SessionDetail, terminal: Terminal) -> String {
    let mut card = Card { text: String::new(), terminal };
    let session = &detail.session;
    card.line("session", &visible(session.session_id.as_str()));
    card.coloured("status", &status(session), colour_of(session.status));
    if let Some(seconds) = session.duration_seconds {
        card.line("lasted", &duration(seconds));
    }
    card.line("directory", &or_none(session.working_directory.as_deref()));
    card.line("branch", &or_none(session.git_branch.as_deref()));
    if let Some(task) = &session.task_id {
        card.line("task", &visible(task));
    }
    card.line("started", &started(session));
    card.line("last event", &format!("{} UTC", instant(session.last_event_at)));
    card.line("events", &events(session));
    card.line("tools", &tools(session));
    card.line("correlation", &session.correlation_id.to_string());
    card.line("folded by", &format!("{}, version {}", visible(&session.aggregator), session.version));
    card.line("stored", &format!("{} UTC, changed {} UTC", instant(session.created_at), instant(session.updated_at)));
    card.line("transitions", &transitions(detail));
    card.excerpts(detail);
    card.text
}

struct Card {
    text: String,
    terminal: Terminal,
}

impl Card {
    fn line(&mut self, name: &str, value: &str) {
        self.coloured(name, value, None);
    }

    fn coloured(&mut self, name: &str, value: &str, colour: Option<Colour>) {
        let value = cut(value, self.terminal.width - NAMES);
        let value = colour.map_or_else(|| value.clone(), |colour| self.terminal.paint(colour, &value));
        // To a text, nothing can fail.
        let _ = writeln!(self.text, "{name:<NAMES$}{value}");
    }

    /// Prompts and failures, each on a line.
    fn excerpts(&mut self, detail: &SessionDetail) {
        let since = |time: crate::event::EventTime| duration(time.seconds_since(detail.session.first_event_at));
        let shown = i64::try_from(detail.prompts.len()).unwrap_or(i64::MAX);
        for (index, prompt) in detail.prompts.iter().enumerate() {
            if index == detail.prompts.len() / 2 && detail.session.prompt_count > shown {
                self.line("", &format!("… {} more", grouped((detail.session.prompt_count - shown).unsigned_abs())));
            }
            let at = since(prompt.emitted_at);
            self.line(if index == 0 { "prompts" } else { "" }, &format!("{at:<8}  {}", quoted(&prompt.prompt_preview)));
        }
        for (index, failure) in detail.failures.iter().enumerate() {
            let (at, tool) = (since(failure.emitted_at), visible(&failure.tool_name));
            let summary = failure.summary.as_deref().map(|summary| format!("  {}", quoted(summary)));
            let line = format!("{at:<8}  {tool}{}", summary.unwrap_or_default());
            self.coloured(if index == 0 { "failures" } else { "" }, &line, Some(Colour::Red));
        }
        let more = detail.session.tool_failure_count - i64::try_from(detail.failures.len()).unwrap_or(i64::MAX);
        if more > 0 {
            self.line("", &format!("… {} before these", grouped(more.unsigned_abs())));
        }
    }
}

fn or_none(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), visible)
}

/// `ended by prompt_input_exit at 2026-03-01 09:12:31 UTC`.
fn status(session: &SessionView) -> String {
    let mut text = session.status.to_string();
    if let (Some(at), Some(reason)) = (session.ended_at, &session.end_reason) {
        let _ = write!(text, " by {} at {} UTC", visible(reason), instant(at));
    }
    text
}

fn started(session: &SessionView) -> String {
    let Some(at) = session.started_at else {
        return format!("- (first event {} UTC)", instant(session.first_event_at));
    };
    let source = session.hook_source.as_deref().map(|source| format!(" by {}", visible(source)));
    format!("{} UTC{}, {}", instant(at), source.unwrap_or_default(), counted(session.run_count, "run"))
}

fn events(session: &SessionView) -> String {
    let failed = match session.tool_failure_count {
        0 => String::new(),
        failed => format!(" ({} failed)", grouped(failed.unsigned_abs())),
    };
    format!(
        "{}: {}, {}{failed}",
        grouped(session.event_count.unsigned_abs()),
        counted(session.prompt_count, "prompt"),
        counted(session.tool_count, "tool execution"),
    )
}

/// The most used first.
fn tools(session: &SessionView) -> String {
    let mut used: Vec<_> = session.tool_usage.iter().collect();
    used.sort_by_key(|(name, executions)| (std::cmp::Reverse(**executions), *name));
    let used: Vec<String> =
        used.into_iter().map(|(name, executions)| format!("{} {executions}", visible(name))).collect();
    if used.is_empty() { "-".to_owned() } else { used.join(", ") }
}

fn transitions(detail: &SessionDetail) -> String {
    let count = detail.transition_count;
    let Some(last) = &detail.last_transition else { return count.to_string() };
    format!("{count}, the last {} UTC: {}", instant(last.occurred_at), change(last))
}

/// `active -> ended (event)`.
pub(super) fn change(transition: &TransitionLine) -> String {
    let TransitionLine { from_status, to_status, cause, .. } = transition;
    let from = from_status.as_deref().map_or_else(|| "new".to_owned(), visible);
    format!("{from} -> {} ({})", visible(to_status), visible(cause))
}

#[cfg(test)]
mod tests {
    use crate::cli::sessions::samples;

    use super::*;

    #[test]
    fn a_session_is_shown_with_its_first_and_last_prompts_and_what_failed() {
        let text = card(&samples::detail(), Terminal { width: 80, colours: false });
        assert_eq!(text, samples::CARD);
        assert!(text.lines().all(|line| crate::cli::terminal::columns(line) <= 80));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut detail = samples::detail();
        detail.prompts.push(detail.prompts[2].clone());
        (detail.session.prompt_count, detail.session.tool_failure_count) = (1_004, 8);
        let text = card(&detail, Terminal { width: 80, colours: false });
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let more = lines.iter().position(|line| *line == "… 1,000 more").unwrap();
        assert!(lines[more - 1].starts_with("2m 10s") && lines[more + 1].starts_with("9m 41s"), "{text}");
        assert_eq!(lines.last(), Some(&"… 7 before these"));
    }

    #[test]
    fn a_session_of_which_little_is_known_is_shown_too() {
        let mut detail = samples::detail();
        detail.session = samples::orphan();
        (detail.prompts, detail.failures, detail.transition_count, detail.last_transition) =
            (Vec::new(), Vec::new(), 0, None);
        let text = card(&detail, Terminal { width: 80, colours: false });
        assert!(text.contains("started      - (first event 2026-03-01 09:05:00 UTC)\n"), "{text}");
        assert!(text.contains("tools        -\n") && text.contains("transitions  0\n"), "{text}");
    }
}
