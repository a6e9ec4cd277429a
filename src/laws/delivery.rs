//! Events as they reach the fold: in batches, between which the store is.

use std::{collections::HashSet, fmt};

use crate::event::{Body, Event, EventKey, SessionId};

/// How a batch goes on from what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// From the stored states.
    Carry,
    /// From the stored events, as if the states were another version's.
    Refold,
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) resume: Resume,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub(super) struct Delivery(pub(super) Vec<Batch>);

impl Delivery {
    pub(super) fn in_one_batch(events: impl IntoIterator<Item = Event>) -> Self {
        Self::cut(events.into_iter().map(|event| (event, None)))
    }

    /// A batch ends after each event with which there is a way to go on.
    pub(super) fn cut(events: impl IntoIterator<Item = (Event, Option<Resume>)>) -> Self {
        let mut batches = vec![Batch { resume: Resume::Carry, events: Vec::new() }];
        for (event, cut) in events {
            if let Some(batch) = batches.last_mut() {
                batch.events.push(event);
            }
            if let Some(resume) = cut {
                batches.push(Batch { resume, events: Vec::new() });
            }
        }
        batches.retain(|batch| !batch.events.is_empty());
        Self(batches)
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.0.iter().flat_map(|batch| &batch.events)
    }

    /// How many events there are, each counted once.
    pub(super) fn distinct(&self) -> u64 {
        let keys: HashSet<(&SessionId, EventKey)> =
            self.events().map(|event| (&event.session_id, event.key())).collect();
        keys.len() as u64
    }
}

/// An event a line, and a line where a batch ends.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, batch) in self.0.iter().enumerate() {
            match batch.resume {
                _ if index == 0 => {}
                Resume::Carry => writeln!(f, "  -- stored as JSON; carried on from it --")?,
                Resume::Refold => writeln!(f, "  -- stored; folded again from the stored events --")?,
            }
            for event in &batch.events {
                writeln!(f, "  {}", Line(event))?;
            }
        }
        Ok(())
    }
}

/// An event in short: session, kind, time, id, then what versions of it can differ in.
struct Line<'e>(&'e Event);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(event) = self;
        let (kind, id) = match &event.body {
            Body::Started(_) => ("started", event.causation_id),
            Body::Prompt(prompt) => ("prompt", prompt.prompt_id),
            Body::Tool(tool) => ("tool", tool.tool_execution_id),
            Body::Ended(_) => ("ended", event.causation_id),
        };
        write!(f, "{}  {kind:7}  {}  id {}", event.session_id, event.emitted_at, Short(id))?;
        write!(f, "  causation {}  correlation {}", Short(event.causation_id), Short(event.correlation_id))?;
        if let Some(task) = &event.task_id {
            write!(f, "  task {:?}", task.as_str())?;
        }
        match &event.body {
            Body::Started(started) => {
                write!(f, "  in {:?}", started.working_directory.as_str())?;
                started.git_branch.as_ref().map_or(Ok(()), |branch| write!(f, " on {:?}", branch.as_str()))
            }
            Body::Prompt(prompt) => write!(f, "  {} characters", prompt.prompt_length.get()),
            Body::Tool(tool) => {
                write!(f, "  {:?} {}", tool.tool_name.as_str(), if tool.success { "ok" } else { "failed" })
            }
            Body::Ended(ended) => {
                write!(f, "  {}", ended.reason)?;
                ended.duration_seconds.map_or(Ok(()), |seconds| write!(f, " after {} s", seconds.get()))
            }
        }
    }
}

/// An id without its leading zeros, which made-up ids have many of.
struct Short(uuid::Uuid);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.0.as_u128()) {
            Ok(small) => write!(f, "{small:x}"),
            Err(_) => self.0.fmt(f),
        }
    }
}
