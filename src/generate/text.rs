//! Free texts of realistic length: what people ask, what tools report.

use super::{random::Random, secret::secret};

const VERBS: [&str; 12] = [
    "Refactor",
    "Fix",
    "Add tests for",
    "Explain",
    "Review",
    "Speed up",
    "Document",
    "Rename",
    "Split",
    "Simplify",
    "Investigate the failure in",
    "Add retries to",
];
const THINGS: [&str; 14] = [
    "the session store",
    "the login flow",
    "the retry policy",
    "the CSV importer",
    "the rate limiter",
    "the checkout page",
    "the metrics exporter",
    "the webhook handler",
    "the migration runner",
    "the search index",
    "the config loader",
    "the job queue",
    "the error type",
    "the CI pipeline",
];
const REASONS: [&str; 12] = [
    "so that a restart does not lose work",
    "because the nightly build is red",
    "and keep the public interface",
    "without touching the database schema",
    "and show me the plan first",
    "it fails only on Windows",
    "the tests are flaky since Monday",
    "and measure before and after",
    "for the release on Friday",
    "as discussed in the review",
    "um die Größe zu begrenzen",
    "その後でテストを実行して 🙂",
];
const FOLDERS: [&str; 8] = ["api", "core", "ingest", "ui/components", "store", "auth", "billing", "tools"];
const FILES: [&str; 10] = [
    "mod.rs",
    "handler.rs",
    "index.ts",
    "session.py",
    "config.go",
    "queue.rs",
    "Button.tsx",
    "models.py",
    "retry.rs",
    "schema.sql",
];
const COMMANDS: [&str; 8] = [
    "cargo test --workspace",
    "npm run lint",
    "git status --short",
    "pytest -x tests/unit",
    "go vet ./...",
    "make build",
    "docker compose ps",
    "rg -n TODO src",
];
const OUTCOMES: [&str; 6] = [
    "no warnings",
    "the output was cut to the first 200 lines",
    "all checks passed",
    "nothing else changed",
    "two matches lie in generated files",
    "see the log for details",
];
const FAILURES: [&str; 6] = [
    "exit code 1: 3 tests failed, first in",
    "error[E0308]: mismatched types in",
    "file not found:",
    "timed out after 120 s while reading",
    "permission denied:",
    "old text is not unique in",
];

pub(super) const PROJECTS: [&str; 8] =
    ["shop-api", "ledger", "atlas", "fieldnotes", "mail-relay", "design-system", "telemetry", "infra"];
pub(super) const INTENTS: [&str; 7] =
    ["bug_fix", "refactoring", "testing", "explanation", "feature", "documentation", "performance"];

pub(super) fn path(random: &mut Random) -> String {
    format!("src/{}/{}", random.pick(&FOLDERS), random.pick(&FILES))
}

pub(super) fn branch(random: &mut Random) -> String {
    match random.between(0..=9) {
        0..3 => "main".to_owned(),
        3 => String::new(),
        4 => format!("release/2026.{}", random.between(1..=12)),
        5 | 6 => format!("fix/{}-{}", random.between(100..=9_999), random.pick(&PROJECTS)),
        _ => format!("feature/{}-{}", random.pick(&INTENTS), random.between(1..=999)),
    }
}

/// What the user typed, in full.
pub(super) fn prompt(random: &mut Random) -> String {
    let mut text = format!("{} {} in {}", random.pick(&VERBS), random.pick(&THINGS), path(random));
    for _ in 0..random.skewed_count(1.0).min(20) {
        text.push_str(random.pick(&[", ", "; ", ". "]));
        text.push_str(random.pick(&REASONS));
    }
    if random.chance(0.005) {
        text = format!("Use {}. {text}", secret(random)); // in front, where the preview shows it
    }
    if random.chance(0.001) {
        text.push('\0'); // JSON can say it, Postgres can't hold it
    }
    text
}

/// At most 160 characters, as the wire demands.
pub(super) fn action(random: &mut Random, what: &str) -> String {
    let mut text = format!("{what} {} in {}", random.pick(&THINGS), path(random));
    if random.chance(0.5) {
        text.push_str(", ");
        text.push_str(random.pick(&REASONS));
    }
    if random.chance(0.001) {
        text = format!("{what} with {}", secret(random));
    }
    first_characters(text, 160)
}

/// At most 500 characters, as the wire demands.
pub(super) fn summary(random: &mut Random, success: bool) -> String {
    let mut text = if success {
        let lines = random.skewed_count(40.0);
        match random.between(0..=2) {
            0 => format!("Ran `{}` in {}: {lines} lines of output", random.pick(&COMMANDS), path(random)),
            1 => format!("{lines} lines of {}", path(random)),
            _ => format!("{lines} matches in {} and {} other files", path(random), random.between(1..=40)),
        }
    } else {
        format!("{} {}", random.pick(&FAILURES), path(random))
    };
    for _ in 0..random.skewed_count(0.6).min(6) {
        text.push_str("; ");
        text.push_str(random.pick(&OUTCOMES));
    }
    if random.chance(0.002) {
        text.push_str("; env: ");
        text.push_str(&secret(random));
    }
    first_characters(text, 500)
}

pub(super) fn first_characters(mut text: String, count: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(count) {
        text.truncate(end);
    }
    text
}
