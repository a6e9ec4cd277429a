//! What a schedule is made of.

use std::fmt;

use proptest::prelude::*;

use crate::{broker::PARTITIONS, gate::Outcome, records::RecordSpec};

pub const MEMBERS: usize = 3;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Records are appended to a partition.
    Produce { partition: usize, records: Vec<RecordSpec> },
    /// A member obeys its pipeline, and hands over up to so many records of each partition.
    Read { member: usize, counts: [u8; PARTITIONS] },
    /// The call of the store in which a member waits comes out like this.
    Release { member: usize, outcome: Outcome },
    /// So many calls of a member in a row, with the waits in between.
    Run { member: usize, outcome: Outcome, calls: u8 },
    /// A member dies where it stands.
    Crash { member: usize },
    /// A member stops reading, commits what it read, and leaves.
    Stop { member: usize },
    /// A member that crashed or left comes back, and takes over the partitions that nobody has.
    Restart { member: usize },
    /// The group gives a partition to another member. The old one hears of it, or works on as a zombie.
    Rebalance { partition: usize, to: usize, heard: bool },
    /// A member hears which partitions it lost.
    Hear { member: usize },
    /// Another process commits the next records of a partition.
    OtherCommits { partition: usize, records: u8 },
    /// An operator moves a checkpoint to that record, or to the end of the log.
    MoveCheckpoint { partition: usize, to: u8 },
    /// An operator deletes a session.
    Delete { session: u8 },
    /// An operator restores a session that was deleted, if no batch is under way that may have read otherwise.
    Restore { session: u8 },
    /// Sessions that fell silent by then are timed out.
    Sweep { second: u16 },
    /// Time passes.
    Wait { millis: u16 },
}

impl Step {
    pub fn strategy() -> impl Strategy<Value = Step> {
        let (partition, member) = (|| 0..PARTITIONS, || 0..MEMBERS);
        prop_oneof![
            6 => (partition(), prop::collection::vec(RecordSpec::strategy(), 1..6))
                .prop_map(|(partition, records)| Step::Produce { partition, records }),
            8 => (member(), prop::array::uniform3(0..6_u8))
                .prop_map(|(member, counts)| Step::Read { member, counts }),
            12 => (member(), Outcome::strategy()).prop_map(|(member, outcome)| Step::Release { member, outcome }),
            2 => (member(), 2..8_u8)
                .prop_map(|(member, calls)| Step::Run { member, outcome: Outcome::Proceed, calls }),
            1 => (member(), Outcome::strategy(), 2..20_u8)
                .prop_map(|(member, outcome, calls)| Step::Run { member, outcome, calls }),
            1 => member().prop_map(|member| Step::Crash { member }),
            1 => member().prop_map(|member| Step::Stop { member }),
            2 => member().prop_map(|member| Step::Restart { member }),
            2 => (partition(), member(), any::<bool>())
                .prop_map(|(partition, to, heard)| Step::Rebalance { partition, to, heard }),
            1 => member().prop_map(|member| Step::Hear { member }),
            1 => (partition(), 1..6_u8).prop_map(|(partition, records)| Step::OtherCommits { partition, records }),
            1 => (partition(), 0..12_u8).prop_map(|(partition, to)| Step::MoveCheckpoint { partition, to }),
            1 => (0..2_u8).prop_map(|session| Step::Delete { session }),
            2 => (0..2_u8).prop_map(|session| Step::Restore { session }),
            1 => (3_550..3_800_u16).prop_map(|second| Step::Sweep { second }),
            2 => (1..6_000_u16).prop_map(|millis| Step::Wait { millis }),
        ]
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Produce { partition, records } => {
                let records: Vec<String> = records.iter().map(ToString::to_string).collect();
                write!(f, "events[{partition}] gets: {}", records.join("; "))
            }
            Step::Read { member, counts } => write!(f, "member {member} reads up to {counts:?} records"),
            Step::Release { member, outcome } => write!(f, "the call of member {member} {outcome}"),
            Step::Run { member, outcome, calls } => write!(f, "{calls} times, the call of member {member} {outcome}"),
            Step::Crash { member } => write!(f, "member {member} crashes"),
            Step::Stop { member } => write!(f, "member {member} stops"),
            Step::Restart { member } => write!(f, "member {member} starts again"),
            Step::Rebalance { partition, to, heard: true } => write!(f, "events[{partition}] goes to member {to}"),
            Step::Rebalance { partition, to, heard: false } => {
                write!(f, "events[{partition}] goes to member {to}, and whoever had it doesn't know")
            }
            Step::Hear { member } => write!(f, "member {member} hears which partitions it lost"),
            Step::OtherCommits { partition, records } => {
                write!(f, "another process commits {records} records of events[{partition}]")
            }
            Step::MoveCheckpoint { partition, to } => {
                write!(f, "an operator moves the checkpoint of events[{partition}] to {to}")
            }
            Step::Delete { session } => write!(f, "an operator deletes s{session}"),
            Step::Restore { session } => write!(f, "an operator restores s{session}"),
            Step::Sweep { second } => write!(f, "the sweep asks about {second} s"),
            Step::Wait { millis } => write!(f, "{millis} ms pass"),
        }
    }
}

pub fn schedule() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(Step::strategy(), 1..70)
}
