//! Which sessions are asked for.

use sqlx::{Postgres, postgres::PgArguments, query::Query};

use crate::{event::EventTime, fold::Status};

/// Sessions that are all of this. The default asks for nothing, which every session is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Any of these; any status where it is empty.
    pub statuses: Vec<Status>,
    /// Exactly this one.
    pub working_directory: Option<String>,
    /// This one or one below it.
    pub under_directory: Option<String>,
    pub git_branch: Option<String>,
    /// Whose last event is not before.
    pub from: Option<EventTime>,
    /// Whose last event is before.
    pub to: Option<EventTime>,
    /// That executed this tool at least once.
    pub tool: Option<String>,
}

impl SessionFilter {
    /// Binds `$1` to `$7` of `session_filter!`.
    pub(super) fn bind<'q>(&self, statement: &'static str) -> Query<'q, Postgres, PgArguments> {
        let statuses: Vec<&str> = self.statuses.iter().map(|status| status.as_str()).collect();
        sqlx::query(statement)
            .bind((!statuses.is_empty()).then_some(statuses))
            .bind(self.working_directory.clone())
            .bind(self.under_directory.as_deref().map(without_end))
            .bind(self.git_branch.clone())
            .bind(self.from.map(EventTime::as_utc))
            .bind(self.to.map(EventTime::as_utc))
            .bind(self.tool.clone())
    }
}

/// A directory without the separators at its end; `/` becomes the empty text, below which are all that begin with `/`.
fn without_end(directory: &str) -> String {
    directory.trim_end_matches(['/', '\\']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_asked_for_without_the_separators_at_its_end() {
        assert_eq!(
            ["/work", "/work/", "/work//", "C:\\work\\", "/"].map(without_end),
            ["/work", "/work", "/work", "C:\\work", ""]
        );
    }
}
