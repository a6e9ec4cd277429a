//! The members that an event's JSON may have.

use super::kind::wire_names;

wire_names! {
    /// A member of the envelope or of a payload, by its name on the wire.
    Member {
        EventType = "event_type",
        SchemaVersion = "schema_version",
        Source = "source",
        Payload = "payload",
        EntityId = "entity_id",
        SessionId = "session_id",
        CorrelationId = "correlation_id",
        CausationId = "causation_id",
        EmittedAt = "emitted_at",
        TaskId = "task_id",
        ActionDescription = "action_description",
        WorkingDirectory = "working_directory",
        GitBranch = "git_branch",
        HookSource = "hook_source",
        Reason = "reason",
        DurationSeconds = "duration_seconds",
        ToolsUsedCount = "tools_used_count",
        PromptId = "prompt_id",
        PromptPreview = "prompt_preview",
        PromptLength = "prompt_length",
        DetectedIntent = "detected_intent",
        ToolExecutionId = "tool_execution_id",
        ToolName = "tool_name",
        Success = "success",
        DurationMs = "duration_ms",
        Summary = "summary",
    }
}

/// Some of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemberSet(u32);

// A bit each.
const _: () = assert!(Member::ALL.len() <= u32::BITS as usize);

impl MemberSet {
    pub(super) const fn of(members: &[Member]) -> Self {
        let mut set = Self(0);
        let mut index = 0;
        while index < members.len() {
            set = Self(set.0 | members[index].bit());
            index += 1;
        }
        set
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn contains(self, member: Member) -> bool {
        self.0 & member.bit() != 0
    }
}

impl Member {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}
