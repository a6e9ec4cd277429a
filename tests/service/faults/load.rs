//! Backlogs, long sessions and many sessions: memory and cost stay flat.
