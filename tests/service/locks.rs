//! Who waits for a lock.

use std::time::Duration;

use sqlx::PgConnection;

use crate::program::until;

/// Waits until so many batches in the observer's database wait for a lock, of one application or of any. A sweep is none.
pub async fn until_batches_wait(observer: &mut PgConnection, batches: i64, application: Option<&str>) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'
                   AND ($1 IS NULL OR application_name = $1) AND query NOT LIKE '/* silent_sessions */%'";
    let enough = async || {
        let query = sqlx::query_scalar::<_, i64>(waiting).bind(application);
        query.fetch_one(&mut *observer).await.unwrap() >= batches
    };
    until("enough batches wait for a lock", Duration::from_secs(60), enough).await;
}
