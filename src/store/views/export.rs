//! All sessions that a filter leaves, in the order of their ids.

use sqlx::PgConnection;

use crate::{
    event::SessionId,
    store::{Store, error::StoreError},
};

use super::{VIEW, filter::SessionFilter, list::PageSize, session::SessionView};

/// A page is found by the key, so that all of them together read the table once.
const EXPORT: &str = concat!(
    "/* export_sessions */ SELECT ",
    session_columns!(),
    " FROM sessions WHERE ",
    session_filter!(),
    " AND session_id > $8 ORDER BY session_id LIMIT $9"
);

pub(super) const STATEMENTS: [&str; 1] = [EXPORT];

impl Store {
    /// The sessions with greater ids than this one, or the first ones. Fewer than asked for are the last.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn sessions_by_id(
        &self,
        filter: &SessionFilter,
        after: Option<&SessionId>,
        size: PageSize,
    ) -> Result<Vec<SessionView>, StoreError> {
        let body = async |connection: &mut PgConnection| {
            let query = filter.bind(EXPORT).bind(after.map_or("", SessionId::as_str));
            let rows = query.bind(i64::from(size)).fetch_all(connection).await?;
            rows.iter().map(SessionView::read).collect::<Result<_, StoreError>>()
        };
        self.transactions.run(&VIEW, body).await
    }
}
