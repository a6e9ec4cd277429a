//! `sessionfold sessions delete` and `restore`.

use std::{collections::HashMap, process::ExitCode};

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        CommandResult,
        confirm::ask,
        terminal::{print, visible},
    },
    event::{RedactedText, SessionId},
    store::{Deletion, SessionView, Store, Tombstone},
};

use super::{
    reason::reason,
    text::{counted, instant, quoted},
};

#[derive(Args)]
pub(super) struct DeleteArgs {
    /// The sessions to delete
    #[arg(value_name = "SESSION", required = true, value_parser = SessionId::parse)]
    sessions: Vec<SessionId>,
    /// Why, for those who look later; secrets are redacted
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<RedactedText>,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RestoreArgs {
    /// The sessions that were deleted
    #[arg(value_name = "SESSION", required = true, value_parser = SessionId::parse)]
    sessions: Vec<SessionId>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn delete(store: &Store, args: DeleteArgs) -> CommandResult {
    let DeleteArgs { sessions, reason, yes, json } = args;
    let stored: HashMap<SessionId, SessionView> = store
        .session_views(&sessions)
        .await?
        .into_iter()
        .map(|session| (session.session_id.clone(), session))
        .collect();
    let tombstones: HashMap<SessionId, Tombstone> =
        store.tombstones(&sessions).await?.into_iter().map(|found| (found.session_id.clone(), found)).collect();
    for session_id in &sessions {
        eprintln!("{}", intention(session_id, stored.get(session_id), tombstones.get(session_id)));
    }
    eprintln!("their events are ignored from now on, also in a replay; `sessions restore` lets them count again");
    ask(yes)?;
    let mut deletions = Vec::new();
    for session_id in &sessions {
        // Each by itself, so that writers wait for no more than one.
        let deletion = store
            .delete_session(session_id, reason.as_ref())
            .await
            .map_err(|error| anyhow!(error).context(format!("{} of {} deleted", deletions.len(), sessions.len())))?;
        deletions.push((session_id, deletion));
    }
    let text = if json {
        deleted_as_json(&deletions)
    } else {
        deletions.iter().map(|(id, found)| deleted(id, *found)).collect()
    };
    let _ = print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What is about to happen to one session.
fn intention(session_id: &SessionId, stored: Option<&SessionView>, tombstone: Option<&Tombstone>) -> String {
    let id = visible(session_id.as_str());
    match (stored, tombstone) {
        (Some(session), _) => format!(
            "{id}: {}, {}, the last at {} UTC: is deleted with all that belongs to it",
            session.status,
            counted(session.event_count, "event"),
            instant(session.last_event_at)
        ),
        (None, Some(tombstone)) => format!("{id}: {}", told(tombstone)),
        (None, None) => format!("{id}: is not stored, and won't be"),
    }
}

/// `was deleted at 2026-03-01 09:00:00 UTC: "asked for by its owner"`.
pub(super) fn told(tombstone: &Tombstone) -> String {
    let reason = tombstone.reason.as_deref().map(|reason| format!(": {}", quoted(reason)));
    format!("was deleted at {} UTC{}", instant(tombstone.deleted_at), reason.unwrap_or_default())
}

/// What has happened to one session.
fn deleted(session_id: &SessionId, Deletion { event_count, was_deleted }: Deletion) -> String {
    let id = visible(session_id.as_str());
    match (event_count, was_deleted) {
        (Some(events), _) => format!("{id}: deleted, with {}\n", counted(events, "event")),
        (None, true) => format!("{id}: was deleted before\n"),
        (None, false) => format!("{id}: was not stored; its events will be ignored\n"),
    }
}

fn deleted_as_json(deletions: &[(&SessionId, Deletion)]) -> String {
    let deletion = |(session_id, found): &(&SessionId, Deletion)| json!({"session_id": session_id, "event_count": found.event_count, "was_deleted": found.was_deleted});
    format!("{}\n", json!({"deleted": deletions.iter().map(deletion).collect::<Vec<_>>()}))
}

pub(super) async fn restore(store: &Store, args: RestoreArgs) -> CommandResult {
    let mut restored = Vec::new();
    for session_id in &args.sessions {
        restored.push((session_id, store.restore_session(session_id).await?));
    }
    let text = if args.json {
        let one = |(session_id, was_deleted): &(&SessionId, bool)| json!({"session_id": session_id, "was_deleted": was_deleted});
        format!("{}\n", json!({"restored": restored.iter().map(one).collect::<Vec<_>>()}))
    } else {
        restored.iter().map(|(session_id, was_deleted)| restored_text(session_id, *was_deleted)).collect()
    };
    let _ = print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn restored_text(session_id: &SessionId, was_deleted: bool) -> String {
    let what = if was_deleted {
        "its events count again; `sessionfold replay` brings back those that the topics still hold"
    } else {
        "was not deleted"
    };
    format!("{}: {what}\n", visible(session_id.as_str()))
}

#[cfg(test)]
mod tests {
    use crate::cli::sessions::samples;

    use super::*;

    #[test]
    fn what_is_about_to_happen_is_told_by_what_is_stored() {
        let session = samples::ended();
        let tombstone = Tombstone {
            session_id: session.session_id.clone(),
            deleted_at: samples::at("10:00:00"),
            reason: Some("asked for\x07".to_owned()),
        };
        let id = SessionId::parse("s\x1b").unwrap();
        let tell = |stored, tombstone| intention(&id, stored, tombstone);
        let stored =
            "s\\u{1b}: ended, 9 events, the last at 2026-03-01 09:12:31 UTC: is deleted with all that belongs to it";
        assert_eq!(tell(Some(&session), None), stored);
        assert_eq!(tell(Some(&session), Some(&tombstone)), stored);
        assert_eq!(
            tell(None, Some(&tombstone)),
            "s\\u{1b}: was deleted at 2026-03-01 10:00:00 UTC: \"asked for\\u{7}\""
        );
        assert_eq!(tell(None, None), "s\\u{1b}: is not stored, and won't be");
    }

    #[test]
    fn what_has_happened_is_told_by_what_was_found() {
        let id = SessionId::parse("s").unwrap();
        let tell = |event_count, was_deleted| deleted(&id, Deletion { event_count, was_deleted });
        assert_eq!(tell(Some(1), false), "s: deleted, with 1 event\n");
        assert_eq!(tell(Some(2), true), "s: deleted, with 2 events\n");
        assert_eq!(tell(None, true), "s: was deleted before\n");
        assert_eq!(tell(None, false), "s: was not stored; its events will be ignored\n");
    }
}
