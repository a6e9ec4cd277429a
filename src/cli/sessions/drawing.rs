//! A session's timeline, drawn in text.

use crate::{
    cli::terminal::{Colour, Terminal, columns, cut, left, right, visible},
    event::{Body, Event, EventTime, Text},
    store::{SessionView, Timeline, TimelineEntry},
};

use super::{
    show::change,
    text::{counted, duration, instant, quoted},
};

/// Between two entries that are further apart, in seconds, a mark says by how much.
const GAP: f64 = 300.0;
const LEAST_TIME: usize = 9;
const LEAST_LABEL: usize = 6;
const MOST_LABEL: usize = 20;
const BAR: usize = 8;
const LASTED: usize = 6;

/// One line: a mark, a name, how long it took, and a text.
struct Line {
    mark: char,
    label: String,
    seconds: Option<f64>,
    text: String,
    colour: Option<Colour>,
}

/// Draws a part of a session. `before` is when the entry before the first one happened, if there is one.
pub(super) fn draw(timeline: &Timeline, before: Option<EventTime>, terminal: Terminal) -> String {
    let Timeline { session, entries, next } = timeline;
    let lines: Vec<(EventTime, Line)> = entries.iter().map(|entry| (entry.at(), line(entry))).collect();
    let label = lines.iter().map(|(_, line)| columns(&line.label)).max().unwrap_or(0).clamp(LEAST_LABEL, MOST_LABEL);
    let longest = lines.iter().filter_map(|(_, line)| line.seconds).reduce(f64::max);
    let since = |at: EventTime| relative(at.seconds_since(session.first_event_at));
    let time = lines.iter().map(|(at, _)| since(*at).len()).max().unwrap_or(0).max(LEAST_TIME);
    let mut text = cut(&heading(session), terminal.width) + "\n";
    let mut before = before;
    for (at, line) in lines {
        if let Some(gap) = before.map(|before| at.seconds_since(before)).filter(|gap| *gap > GAP) {
            let gap = format!("{:time$}  ⋮ {}", "", duration(gap));
            text += &(terminal.paint(Colour::Dim, &gap) + "\n");
        }
        before = Some(at);
        text += &(drawn(&line, &right(&since(at), time), label, longest, terminal) + "\n");
    }
    if let Some(next) = next {
        text += &format!("next: --after {next}\n");
    }
    text
}

fn heading(session: &SessionView) -> String {
    format!(
        "{}: {}, {}, from {} UTC",
        visible(session.session_id.as_str()),
        session.status,
        counted(session.event_count, "event"),
        instant(session.first_event_at)
    )
}

fn drawn(line: &Line, since: &str, label: usize, longest: Option<f64>, terminal: Terminal) -> String {
    let mut text = format!("{since}  {} {}", line.mark, left(&line.label, label));
    if let Some(longest) = longest {
        let (bar, lasted) = line.seconds.map_or_else(Default::default, |took| (bar(took, longest), duration(took)));
        text += &format!("  {} {}", left(&bar, BAR), right(&lasted, LASTED));
    }
    let text = cut(&format!("{text}  {}", line.text), terminal.width);
    let text = text.trim_end();
    line.colour.map_or_else(|| text.to_owned(), |colour| terminal.paint(colour, text))
}

fn line(entry: &TimelineEntry) -> Line {
    match entry {
        TimelineEntry::Event(event) => event_line(event),
        TimelineEntry::Transition(transition) => Line {
            mark: '~',
            label: "status".to_owned(),
            seconds: None,
            text: change(transition),
            colour: Some(Colour::Dim),
        },
    }
}

fn event_line(event: &Event) -> Line {
    let plain = |mark, label: &str, text| Line { mark, label: label.to_owned(), seconds: None, text, colour: None };
    match &event.body {
        Body::Started(started) => {
            let branch = started.git_branch.as_ref().map(Text::as_str).map(|branch| format!(" on {}", visible(branch)));
            let directory = visible(started.working_directory.as_str());
            plain('▶', "start", format!("{} in {directory}{}", started.hook_source, branch.unwrap_or_default()))
        }
        Body::Prompt(prompt) => plain('»', "prompt", quoted(prompt.prompt_preview.as_str())),
        Body::Tool(tool) => Line {
            mark: if tool.success { '✓' } else { '✗' },
            label: visible(tool.tool_name.as_str()),
            seconds: tool.duration_ms.map(|millis| f64::from(millis.get()) / 1e3),
            text: tool.summary.as_ref().map(|summary| quoted(summary.as_str())).unwrap_or_default(),
            colour: (!tool.success).then_some(Colour::Red),
        },
        Body::Ended(ended) => {
            let why = event.action_description.as_str();
            let why = if why.is_empty() { String::new() } else { format!("  {}", quoted(why)) };
            plain('■', "end", format!("{}{why}", ended.reason))
        }
    }
}

/// Time since the session's first event: `+0:05.2`, `+1:02:03`, `+3d 04:05`.
fn relative(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates; entries come after the first"
    )]
    let tenths = (seconds * 10.0).floor() as u64;
    let whole = tenths / 10;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    match whole {
        0..3_600 => format!("+{minutes}:{seconds:02}.{}", tenths % 10),
        3_600..86_400 => format!("+{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("+{days}d {hours:02}:{minutes:02}"),
    }
}

/// A bar in eighths of a column; the longest fills it, and none is empty.
fn bar(seconds: f64, longest: f64) -> String {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if longest > 0.0 { seconds / longest } else { 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of 64"
    )]
    let eighths = ((share * (BAR * 8) as f64).round() as usize).max(1);
    let rest = (eighths % 8).checked_sub(1).map(|rest| EIGHTHS[rest]);
    std::iter::repeat_n('█', eighths / 8).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use crate::cli::sessions::samples;

    use super::*;

    const PLAIN: Terminal = Terminal { width: 100, colours: false };

    #[test]
    fn a_session_is_drawn_with_its_durations_and_gaps() {
        assert_eq!(draw(&samples::timeline(), None, PLAIN), samples::TIMELINE);
    }

    #[test]
    fn a_gap_is_also_marked_between_two_pages() {
        let drawn = draw(&samples::timeline(), Some(samples::at("08:00:00")), PLAIN);
        assert_eq!(drawn.lines().nth(1), Some("           ⋮ 1h 0m"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_stranger_steers_it() {
        let mut timeline = samples::timeline();
        let hostile = "\x1b]0;title\x07日本語\r\n\u{202e}".repeat(20);
        timeline.session.session_id = crate::event::SessionId::parse(&"\x1b[2J日".repeat(40)).unwrap();
        for entry in &mut timeline.entries {
            match entry {
                TimelineEntry::Event(event) => samples::fill(event, &hostile),
                TimelineEntry::Transition(transition) => transition.cause = hostile.clone(),
            }
        }
        for width in [60, 80, 133] {
            for line in draw(&timeline, None, Terminal { width, ..PLAIN }).lines() {
                assert!(columns(line) <= width && line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line:?}");
            }
        }
    }

    #[test]
    fn times_are_told_from_the_first_event_on() {
        let times = [0.0, 5.29, 65.0, 3_599.99, 3_723.0, 86_399.0, 273_900.0].map(relative);
        assert_eq!(times, ["+0:00.0", "+0:05.2", "+1:05.0", "+59:59.9", "+1:02:03", "+23:59:59", "+3d 04:05"]);
    }

    #[test]
    fn bars_are_shares_of_the_longest_and_never_empty() {
        assert_eq!([0.0, 1.0, 8.0, 4.5, 0.125].map(|seconds| bar(seconds, 8.0)), ["▏", "█", "████████", "████▌", "▏"]);
        assert_eq!(bar(0.0, 0.0), "▏");
    }
}
