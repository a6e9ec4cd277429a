//! What every command has in common: an example, help for each argument, and words for a value that is none.

use clap::{Command, CommandFactory};

use super::Cli;

/// All commands, each with its path.
fn commands() -> Vec<(Vec<String>, Command)> {
    fn collect(path: &[String], command: &Command, found: &mut Vec<(Vec<String>, Command)>) {
        let path = [path, &[command.get_name().to_owned()]].concat();
        for command in command.get_subcommands() {
            collect(&path, command, found);
        }
        found.push((path, command.clone()));
    }
    let mut found = Vec::new();
    collect(&[], &Cli::command(), &mut found);
    assert!(found.len() > 30, "{}", found.len());
    found
}

/// The words of a command line as a shell takes them, up to a pipe or a file.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted && word.is_empty() => {}
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.into_iter().take_while(|word| !matches!(word.as_str(), ">" | "|")).collect()
}

#[test]
fn each_command_has_an_example_that_it_takes() {
    for (path, command) in commands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with("Example"), "{path:?} has no example");
        let fits = |line: &str| line.len() <= 80 || !line.contains("sessionfold ");
        assert!(help.lines().all(fits), "{path:?}: an example that is broken in two can't be copied");
        let help = help.replace("\\\n", "");
        let lines = help.lines().map(|line| line.trim_start().trim_start_matches("Example: "));
        let examples: Vec<Vec<String>> = lines.filter(|line| line.starts_with("sessionfold ")).map(words).collect();
        assert!(!examples.is_empty(), "{path:?}: {help}");
        for example in examples {
            let taken = Cli::command().try_get_matches_from(&example);
            assert!(taken.is_ok(), "{example:?}: {}", taken.unwrap_err());
        }
        let is_its_own = help.contains(&path.join(" "));
        assert!(is_its_own, "{path:?}: {help}");
    }
}

#[test]
fn each_command_and_each_argument_says_what_it_is() {
    for (path, command) in commands() {
        assert!(command.get_about().is_some(), "{path:?}");
        for argument in command.get_arguments().filter(|argument| argument.get_id() != "version") {
            assert!(argument.get_help().is_some(), "{path:?}: {} has no help", argument.get_id());
        }
    }
}

#[test]
fn a_wrong_value_is_answered_in_our_words() {
    // Of Rust's numbers, of its booleans, of chrono's times and of UUIDs.
    const FOREIGN: [&str; 9] = [
        "invalid digit",
        "non-zero type",
        "too large to fit",
        "invalid float",
        "from empty string",
        "premature end",
        "invalid characters",
        "invalid character:",
        "invalid length",
    ];
    let mut refused = 0;
    for (path, command) in commands().into_iter().filter(|(_, command)| !command.has_subcommands()) {
        for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
            for value in ["", "0", "nope", "1.5", "99999999999999999999999"] {
                let given = argument.get_long().map_or_else(|| value.to_owned(), |long| format!("--{long}={value}"));
                let line = [&path[..], &[given]].concat();
                let Err(error) = Cli::command().try_get_matches_from(&line) else { continue };
                let told = error.to_string();
                assert!(FOREIGN.iter().all(|words| !told.contains(words)), "{line:?}: {told}");
                refused += usize::from(told.contains("invalid value"));
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_number_that_is_out_of_its_range_is_answered_by_the_range() {
    for (line, told) in [
        ("sessionfold replay --rate 0", "allowed: a whole number of at least 1"),
        ("sessionfold generate --bad 2", "allowed: a number from 0 to 1"),
        ("sessionfold generate --create-topics 0", "allowed: a whole number of at least 1"),
        ("sessionfold dead-letters list --limit 0", "allowed: a whole number from 1 to 10000"),
        ("sessionfold sessions list --limit 1001", "allowed: a whole number from 1 to 1000"),
        ("sessionfold dead-letters show nope", "allowed: the id of a dead letter"),
        ("sessionfold transitions retry --id nope", "allowed: the id of a transition"),
        ("sessionfold generate --start yesterday", "expected a time like 2026-03-01T09:00:00"),
    ] {
        let error = Cli::command().try_get_matches_from(line.split(' ')).unwrap_err().to_string();
        assert!(error.contains(told), "{line}: {error}");
    }
}
