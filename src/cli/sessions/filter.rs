//! The options by which sessions are chosen.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::{event::EventTime, fold::Status, store::SessionFilter};

#[derive(Args)]
pub(super) struct FilterArgs {
    /// Only sessions of this status; may be given several times
    #[arg(long, value_name = "STATUS", value_parser = one_of(Status::ALL, Status::as_str))]
    status: Vec<Status>,
    /// Only sessions in exactly this working directory
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "under")]
    directory: Option<String>,
    /// Only sessions in this working directory or below it
    #[arg(long, value_name = "DIRECTORY")]
    under: Option<String>,
    /// Only sessions on this git branch
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Only sessions whose last event is not before, like 2026-03-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = EventTime::parse)]
    from: Option<EventTime>,
    /// Only sessions whose last event is before
    #[arg(long, value_name = "TIME", value_parser = EventTime::parse)]
    to: Option<EventTime>,
    /// Only sessions that executed this tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
}

impl FilterArgs {
    pub(super) fn filter(self) -> SessionFilter {
        SessionFilter {
            statuses: self.status,
            working_directory: self.directory,
            under_directory: self.under,
            git_branch: self.branch,
            from: self.from,
            to: self.to,
            tool: self.tool,
        }
    }
}

/// Takes one of a closed list of names, which the help and the shell's completion show.
pub(super) fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let value = move |text: String| all.iter().copied().find(|value| name(*value) == text).ok_or("unknown");
    PossibleValuesParser::new(all.iter().map(|value| name(*value))).try_map(value)
}
