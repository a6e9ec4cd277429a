//! One session from its start to its end.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    random::Random,
    text,
    wire::{Body, Payload, time_text},
};
use crate::event::EventKind;

#[derive(Clone, Copy)]
struct ToolKind {
    name: &'static str,
    /// How long it usually runs.
    seconds: f64,
    action: &'static str,
}

const fn tool(name: &'static str, seconds: f64, action: &'static str) -> ToolKind {
    ToolKind { name, seconds, action }
}

const TOOLS: [(u32, ToolKind); 13] = [
    (26, tool("Bash", 1.8, "Run the checks of")),
    (24, tool("Read", 0.03, "Read about")),
    (17, tool("Edit", 0.08, "Change")),
    (9, tool("Grep", 0.2, "Look for uses of")),
    (6, tool("Write", 0.06, "Write")),
    (5, tool("Glob", 0.1, "List files of")),
    (4, tool("TodoWrite", 0.01, "Note what is left of")),
    (3, tool("Task", 35.0, "Delegate the search for")),
    (2, tool("WebFetch", 2.5, "Fetch the manual of")),
    (1, tool("mcp__linear__get_issue", 0.6, "Fetch the issue about")),
    (1, tool("mcp__github__search_code", 0.9, "Search other repositories for")),
    (1, tool("mcp__postgres__query", 0.4, "Query the rows of")),
    (1, tool("NotebookEdit", 0.1, "Change the notebook about")),
];

const FIRST_SOURCES: [(u32, &str); 4] = [(88, "startup"), (6, "resume"), (4, "clear"), (2, "compact")];
const REASONS: [(u32, &str); 4] = [(20, "clear"), (10, "logout"), (55, "prompt_input_exit"), (15, "other")];

/// So that one session can't grow without bound.
const MOST_PROMPTS: u64 = 120;
const MOST_TOOLS_A_PROMPT: u64 = 40;

/// A session in the making: what its events have in common, and its own clock.
pub(super) struct Session<'a> {
    random: &'a mut Random,
    entity_id: Uuid,
    session_id: String,
    correlation_id: Uuid,
    task_id: Option<String>,
    directory: String,
    branch: Option<String>,
    now: DateTime<Utc>,
    begun: DateTime<Utc>,
    tools_used: BTreeSet<&'static str>,
    events: Vec<Payload>,
}

/// All events of a session that begins at `begin`, by their time.
pub(super) fn session(random: &mut Random, begin: DateTime<Utc>) -> VecDeque<Payload> {
    let mut session = Session::new(random, begin);
    session.play();
    let mut events = session.events;
    events.sort_by_key(|event| event.at);
    events.into()
}

/// One event that belongs to no other session, to be spoilt.
pub(super) fn stray(random: &mut Random, kind: EventKind, at: DateTime<Utc>) -> Payload {
    let mut session = Session::new(random, at);
    match kind {
        EventKind::Started => session.start("startup"),
        EventKind::Prompt => _ = session.prompt(),
        EventKind::Tool => session.tool(Uuid::nil()),
        EventKind::Ended => session.end(),
    }
    let mut stray = session.events.remove(0);
    stray.move_to(at);
    stray
}

impl<'a> Session<'a> {
    fn new(random: &'a mut Random, now: DateTime<Utc>) -> Self {
        let entity_id = random.uuid();
        let named = random.chance(0.03);
        let session_id = if named { format!("ci-run-{}", random.between(1..=u64::MAX)) } else { entity_id.to_string() };
        Self {
            entity_id,
            session_id,
            correlation_id: if random.chance(0.5) { entity_id } else { random.uuid() },
            task_id: random.chance(0.3).then(|| format!("TASK-{}", random.between(1..=99_999))),
            directory: format!("/home/dev/work/{}", random.pick(&text::PROJECTS)),
            branch: random.chance(0.9).then(|| text::branch(random)),
            now,
            begun: now,
            tools_used: BTreeSet::new(),
            events: Vec::new(),
            random,
        }
    }

    fn play(&mut self) {
        if !self.random.chance(0.05) {
            let source = self.random.weighted(&FIRST_SOURCES);
            self.start(source);
        }
        self.turns(2.6);
        if self.random.chance(0.03) {
            self.start("compact"); // a second start without an end between
            self.turns(1.5);
        }
        if self.random.chance(0.10) {
            return; // never ends
        }
        self.end();
        if self.random.chance(0.05) {
            self.now += self.random.seconds(90..=5_400);
            self.start("resume");
            self.turns(2.0);
            if self.random.chance(0.8) {
                self.end();
            }
        } else if self.random.chance(0.06) {
            self.late_tools();
        }
    }

    fn turns(&mut self, middle: f64) {
        for _ in 0..self.random.skewed_count(middle).clamp(1, MOST_PROMPTS) {
            let thinking = if self.random.chance(0.01) { 3_000.0 } else { 40.0 };
            self.now += self.random.pause(thinking);
            let prompt_id = self.prompt();
            for _ in 0..self.random.skewed_count(2.35).min(MOST_TOOLS_A_PROMPT) {
                self.now += self.random.pause(1.5);
                self.tool(prompt_id);
            }
        }
    }

    /// Tools that were still running when the session ended: most report within the reopen grace of a minute.
    fn late_tools(&mut self) {
        let ended = self.now;
        for _ in 0..self.random.between(1..=2) {
            let within_grace = self.random.chance(0.7);
            let after = self.random.seconds(if within_grace { 1..=59 } else { 61..=900 });
            self.now = ended + after;
            self.tool(self.correlation_id);
        }
    }

    fn start(&mut self, hook_source: &'static str) {
        let body =
            Body::Started { working_directory: self.directory.clone(), git_branch: self.branch.clone(), hook_source };
        let causation_id = self.random.uuid();
        self.push(causation_id, "Work on", body);
    }

    fn prompt(&mut self) -> Uuid {
        let text = text::prompt(self.random);
        let prompt_id = self.random.uuid();
        let body = Body::Prompt {
            prompt_id,
            prompt_length: text.chars().count() as u64,
            prompt_preview: text,
            detected_intent: self.random.chance(0.6).then(|| self.random.pick(&text::INTENTS)),
        };
        self.push(self.correlation_id, "Ask about", body);
        prompt_id
    }

    /// It reports when it is done.
    fn tool(&mut self, causation_id: Uuid) {
        let kind = self.random.weighted(&TOOLS);
        let millis = self.random.skewed_count(kind.seconds * 1e3).min(3_600_000);
        let success = !self.random.chance(0.07);
        let body = Body::Tool {
            tool_execution_id: self.random.uuid(),
            tool_name: kind.name,
            success,
            duration_ms: self.random.chance(0.95).then_some(millis),
            summary: self.random.chance(0.9).then(|| text::summary(self.random, success)),
        };
        self.tools_used.insert(kind.name);
        self.now += TimeDelta::milliseconds(i64::try_from(millis).unwrap_or(0));
        self.push(causation_id, kind.action, body);
    }

    fn end(&mut self) {
        self.now += self.random.pause(15.0);
        #[expect(clippy::cast_precision_loss, reason = "an hour or a day of milliseconds")]
        let seconds = (self.now - self.begun).num_milliseconds() as f64 / 1e3;
        let body = Body::Ended {
            reason: self.random.weighted(&REASONS),
            duration_seconds: self.random.chance(0.8).then_some(seconds.min(2_592_000.0)),
            tools_used_count: self.tools_used.len(),
        };
        let causation_id = self.random.uuid();
        self.push(causation_id, "Finish", body);
    }

    fn push(&mut self, causation_id: Uuid, action: &str, body: Body) {
        self.events.push(Payload {
            at: self.now,
            entity_id: self.entity_id,
            session_id: self.session_id.clone(),
            correlation_id: self.correlation_id,
            causation_id,
            emitted_at: time_text(self.random, self.now),
            task_id: self.task_id.clone(),
            action_description: text::action(self.random, action),
            body,
        });
    }
}
