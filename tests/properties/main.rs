//! What holds for all events and all bytes, tried on made-up ones.

mod decode;
mod fold;
mod model;

/// As many cases as the law kit tries, so that one variable is for both.
fn config() -> proptest::test_runner::Config {
    let cases = sessionfold::laws::Config::default().cases;
    proptest::test_runner::Config { failure_persistence: None, ..proptest::test_runner::Config::with_cases(cases) }
}
