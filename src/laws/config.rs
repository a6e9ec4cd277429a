//! How much is tried.

/// How much is tried for each law.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub cases: u32,
    /// Most events in a case.
    pub max_events: usize,
}

impl Config {
    /// Names the number of cases where none is given.
    pub const CASES_VARIABLE: &str = "SESSIONFOLD_PROPERTY_CASES";
    const CASES: u32 = 10_000;
    const MAX_EVENTS: usize = 12;

    pub fn with_cases(cases: u32) -> Self {
        Self { cases, max_events: Self::MAX_EVENTS }
    }
}

/// 10,000 cases, or as many as the environment variable `SESSIONFOLD_PROPERTY_CASES` says.
impl Default for Config {
    /// # Panics
    /// If the variable is no number: a typing error must not pass for many cases.
    fn default() -> Self {
        let cases = std::env::var(Self::CASES_VARIABLE).ok().map(|text| match text.parse() {
            Ok(cases) => cases,
            Err(_) => panic!("{} is not a number: {text}", Self::CASES_VARIABLE),
        });
        Self::with_cases(cases.unwrap_or(Self::CASES))
    }
}
