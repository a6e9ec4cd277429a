//! Which dead letters are meant.

use clap::{Args, builder::PossibleValuesParser};

use crate::{
    cli::arguments::whole,
    event::{EventTime, Reason},
    store::{LetterFilter, LetterId},
};

/// All conditions must hold; of those that are given several times, one.
#[derive(Args)]
pub(super) struct FilterArgs {
    /// Only of this reason; may be given several times
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reason: Vec<String>,
    /// Only from this topic; may be given several times
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// Only from this partition; may be given several times
    #[arg(long, value_name = "NUMBER", value_parser = whole(0_i32..))]
    partition: Vec<i32>,
    /// Only those set aside not before, like 2026-03-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = EventTime::parse)]
    since: Option<EventTime>,
    /// Only those set aside before
    #[arg(long, value_name = "TIME", value_parser = EventTime::parse)]
    until: Option<EventTime>,
    /// Only this one; may be given several times
    #[arg(long, value_name = "ID")]
    id: Vec<LetterId>,
}

impl FilterArgs {
    /// For letters of any status.
    pub(super) fn filter(self) -> LetterFilter {
        let Self { reason: reasons, topic: topics, partition: partitions, since, until, id: ids } = self;
        LetterFilter { reasons, statuses: Vec::new(), topics, partitions, since, until, ids }
    }
}
