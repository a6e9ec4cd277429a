//! What two generations have in common, session by session and field by field.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgConnection, types::Json};

use super::{
    super::{
        Store,
        error::StoreError,
        transaction::{Isolation, TransactionSpec},
    },
    quoted,
};

/// What is compared of a session: what its events and the settings decide. Versions and times of writing are each
/// table's own.
const FIELDS: [&str; 21] = [
    "status",
    "correlation_id",
    "task_id",
    "started_at",
    "ended_at",
    "duration_seconds",
    "working_directory",
    "git_branch",
    "hook_source",
    "end_reason",
    "end_provenance",
    "run_count",
    "prompt_count",
    "tool_count",
    "tool_failure_count",
    "tools_used_count",
    "tool_usage",
    "event_count",
    "first_event_at",
    "last_event_at",
    "event_digest",
];

/// How two generations differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GenerationDiff {
    pub only_in_first: u64,
    pub only_in_second: u64,
    /// Sessions that are in both and not equal.
    pub differing: u64,
    /// In how many of them a field differs. `event_digest` stands for the set of a session's events.
    pub fields: BTreeMap<String, u64>,
    /// States of side aggregators that differ, or are in one only.
    pub aggregates: u64,
    pub examples: Vec<DifferingSession>,
}

impl GenerationDiff {
    pub fn is_equal(&self) -> bool {
        self.only_in_first + self.only_in_second + self.differing + self.aggregates == 0
    }
}

/// A session that is not the same in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifferingSession {
    pub session_id: String,
    pub in_first: bool,
    pub in_second: bool,
    /// None where it is in one only.
    pub fields: Vec<FieldDifference>,
}

/// A field of a session that is in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldDifference {
    pub field: String,
    pub first: Value,
    pub second: Value,
}

const SPEC: TransactionSpec = TransactionSpec {
    name: "diff_generations",
    isolation: Isolation::RepeatableRead,
    read_only: true,
    statement_timeout: Some(Duration::from_secs(3_600)),
};

/// The pool's settings are for looking up a batch's keys; here whole tables meet.
const PLAN_FOR_WHOLE_TABLES: &str = "/* plan_for_whole_tables */
    SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_seqscan = on";

type Found = (i64, i64, i64, Json<BTreeMap<String, u64>>, Json<Vec<Example>>);

#[derive(serde::Deserialize)]
struct Example {
    session_id: String,
    fields: Vec<String>,
    first: Option<Map<String, Value>>,
    second: Option<Map<String, Value>>,
}

impl Store {
    /// Compares the tables of two schemas, at one moment. Has at most `examples` sessions in full.
    ///
    /// # Errors
    /// If Postgres can't be asked, or one of the schemas has no such tables.
    pub async fn diff_generations(
        &self,
        first: &str,
        second: &str,
        examples: u32,
    ) -> Result<GenerationDiff, StoreError> {
        let (sessions, aggregates) = (compare_sessions(first, second), compare_aggregates(first, second));
        let body = async |connection: &mut PgConnection| {
            sqlx::raw_sql(PLAN_FOR_WHOLE_TABLES).execute(&mut *connection).await?;
            let query = sqlx::query_as::<_, Found>(AssertSqlSafe(sessions.as_str())).bind(i64::from(examples));
            let (only_in_first, only_in_second, differing, Json(fields), Json(examples)) =
                query.fetch_one(&mut *connection).await?;
            let aggregates: i64 = sqlx::query_scalar(AssertSqlSafe(aggregates.as_str())).fetch_one(connection).await?;
            Ok::<_, StoreError>(GenerationDiff {
                only_in_first: only_in_first.unsigned_abs(),
                only_in_second: only_in_second.unsigned_abs(),
                differing: differing.unsigned_abs(),
                fields,
                aggregates: aggregates.unsigned_abs(),
                examples: examples.into_iter().map(Example::into_session).collect(),
            })
        };
        self.transactions.run(&SPEC, body).await
    }
}

impl Example {
    fn into_session(self) -> DifferingSession {
        let (in_first, in_second) = (self.first.is_some(), self.second.is_some());
        let fields = match (self.first, self.second) {
            (Some(mut first), Some(mut second)) => {
                let mut take = |field: String| FieldDifference {
                    first: first.remove(&field).unwrap_or_default(),
                    second: second.remove(&field).unwrap_or_default(),
                    field,
                };
                self.fields.into_iter().map(&mut take).collect()
            }
            _ => Vec::new(),
        };
        DifferingSession { session_id: self.session_id, in_first, in_second, fields }
    }
}

/// The statement is made of our own words and quoted names.
fn compare_sessions(first: &str, second: &str) -> String {
    let each = |make: &dyn Fn(&str) -> String| FIELDS.iter().map(|field| make(field)).collect::<Vec<_>>().join(", ");
    let unequal = each(&|field| format!("CASE WHEN a.{field} IS DISTINCT FROM b.{field} THEN '{field}' END"));
    let (first_row, second_row) = (each(&|field| format!("a.{field}")), each(&|field| format!("b.{field}")));
    let (first, second) = (quoted(first), quoted(second));
    format!(
        "/* diff_sessions */
        WITH pairs AS MATERIALIZED (
            SELECT coalesce(a.session_id, b.session_id) AS session_id,
                a.session_id IS NOT NULL AS in_first, b.session_id IS NOT NULL AS in_second,
                array_remove(ARRAY[{unequal}], NULL) AS fields
            FROM {first}.sessions a FULL JOIN {second}.sessions b ON b.session_id = a.session_id
            WHERE ROW({first_row}) IS DISTINCT FROM ROW({second_row})
        ), differing AS (
            SELECT * FROM pairs WHERE in_first AND in_second
        )
        SELECT (SELECT count(*) FROM pairs WHERE NOT in_second), (SELECT count(*) FROM pairs WHERE NOT in_first),
            (SELECT count(*) FROM differing),
            (SELECT coalesce(jsonb_object_agg(f.field, f.sessions), '{{}}') FROM (
                SELECT field, count(*) AS sessions FROM differing, unnest(fields) AS field GROUP BY field) AS f),
            (SELECT coalesce(jsonb_agg(to_jsonb(e)), '[]') FROM (
                SELECT p.session_id, p.fields,
                    (SELECT to_jsonb(s) - 'state' FROM {first}.sessions s WHERE s.session_id = p.session_id) AS first,
                    (SELECT to_jsonb(s) - 'state' FROM {second}.sessions s WHERE s.session_id = p.session_id) AS second
                FROM pairs p ORDER BY p.session_id LIMIT $1) AS e)"
    )
}

fn compare_aggregates(first: &str, second: &str) -> String {
    let (first, second) = (quoted(first), quoted(second));
    format!(
        "/* diff_aggregates */
        SELECT count(*)
        FROM {first}.aggregates a FULL JOIN {second}.aggregates b
            ON b.session_id = a.session_id AND b.aggregator = a.aggregator AND b.key = a.key
        WHERE a.state IS DISTINCT FROM b.state"
    )
}
