//! Commits that are refused, run into others, or lose their answer.
