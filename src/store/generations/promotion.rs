//! The change from one generation to another, in one transaction.
//!
//! Schemas are renamed while all of their tables are locked, so that no transaction meets tables of both. Whoever waits
//! for a lock finds the new tables behind the name when it gets it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    backoff::Backoff,
    record::{NextOffset, TopicPartition},
};

use super::{
    super::{
        ReplayName, Store,
        error::{Failure, StoreError},
        transaction::{AsStoreError, Isolation, TransactionSpec},
    },
    Generation, GenerationName, quoted,
};

/// What to change, and what must be as it was when it was decided.
#[derive(Clone, Debug)]
pub struct Promotion<'a> {
    /// The one that is live.
    pub from: &'a Generation,
    pub to: &'a Generation,
    /// The replay whose checkpoints say how far `to` holds the logs.
    pub replay: &'a ReplayName,
    /// Which consumer group goes on from there, and what it reads.
    pub group_id: &'a str,
    pub topics: &'a [String],
}

pub(in crate::store) const CHECKPOINTS: &str = "/* checkpoints_of_group */
    SELECT topic, partition, next_offset FROM checkpoints WHERE group_id = $1 ORDER BY topic, partition";

const TABLES: &str = "/* tables_of_generation */
    SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'
    ORDER BY relname <> 'generation', relname <> 'checkpoints', relname <> 'sessions', relname";

/// Rights that others were given on the tables and the schema, as statements that give them on the other ones.
const GRANTS: &str = "/* grants_of_generation */
    SELECT format('GRANT %s ON %I.%I TO %s%s', a.privilege_type, $2, c.relname,
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r' AND a.grantee <> c.relowner
        AND to_regclass(format('%I.%I', $2, c.relname)) IS NOT NULL
    UNION ALL
    SELECT format('GRANT %s ON SCHEMA %I TO %s', a.privilege_type, $2,
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
    FROM pg_namespace n, aclexplode(n.nspacl) a
    WHERE n.oid = to_regnamespace($1) AND a.grantee <> n.nspowner";

/// Short, and tried again: whoever comes after a lock that is waited for waits, too.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it is tried in all, against transactions that don't end.
const MOST_ATTEMPTS: u32 = 40;

/// Transactions that were under way when the first copy was made have ended long before that.
const OVERLAP: Duration = Duration::from_secs(600);

const COPY_SPEC: TransactionSpec =
    TransactionSpec { name: "copy_transitions", statement_timeout: Some(Duration::from_secs(3_600)), ..SPEC };

const SPEC: TransactionSpec = TransactionSpec {
    name: "promote_generation",
    isolation: Isolation::ReadCommitted,
    read_only: false,
    statement_timeout: Some(Duration::from_secs(60)),
};

impl Store {
    /// Makes another generation the live one. This store's tables are the live ones' now; they keep what they hold, under
    /// the name of their generation.
    ///
    /// `catch_up` is called while nobody can write to the live tables, with the group's checkpoints: it reads into the
    /// other generation what is before them. So that one holds no less than the live one does.
    ///
    /// # Errors
    /// If either is not what it was when that was decided, if a partition of the group would have no checkpoint, if
    /// others hold the tables locked for long, if `catch_up` fails, or Postgres refuses.
    pub async fn promote_generation<E: From<StoreError> + AsStoreError>(
        &self,
        promotion: &Promotion<'_>,
        mut catch_up: impl AsyncFnMut(Vec<(TopicPartition, NextOffset)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let next = promotion.to.name.schema(&self.schema);
        // There may be many, and nobody should wait for these.
        let since = Utc::now() - OVERLAP;
        self.run_alone(&forget_copied(&self.schema, &next)).await?;
        self.run_alone(&copy_transitions(&self.schema, &next, None)).await?;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let body = async |connection: &mut PgConnection| {
                let checkpoints = stop_writers(connection, promotion.group_id).await?;
                catch_up(checkpoints).await?;
                Ok::<_, E>(self.promote(connection, promotion, since).await?)
            };
            let result = self.transactions.run(&SPEC, body).await;
            let error = result.as_ref().err().and_then(AsStoreError::as_store_error);
            // Somebody reads or writes for longer than others should wait for us.
            if !error.is_some_and(StoreError::is_lock_timeout) || backoff.attempts() + 1 >= MOST_ATTEMPTS {
                result?;
                break;
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        // They are published from where they are now. Should those tables become live again, not once more from there.
        let previous = quoted(&promotion.from.name.schema(&self.schema));
        let withhold = format!(
            "/* withhold_carried_over */
            UPDATE {previous}.transitions SET withheld = true WHERE published_at IS NULL AND NOT withheld"
        );
        Ok(self.run_alone(&withhold).await?)
    }

    async fn run_alone(&self, statement: &str) -> Result<(), StoreError> {
        self.transactions.run(&COPY_SPEC, async |connection| run(connection, statement).await).await
    }

    async fn promote(
        &self,
        connection: &mut PgConnection,
        promotion: &Promotion<'_>,
        since: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        check_owners(connection, &self.schema, &promotion.to.name.schema(&self.schema)).await?;
        let live = &*self.schema;
        let next = promotion.to.name.schema(live);
        lock_tables(connection, live, &next).await?;
        for (schema, expected) in [(live, promotion.from), (next.as_str(), promotion.to)] {
            if id_of(connection, schema).await? != expected.id.0 {
                return Err(refused(format!("schema {schema} is no longer generation {}", expected.name)));
            }
        }
        run(connection, &copy_transitions(live, &next, Some(since))).await?;
        run(connection, &settle_copied(live, &next, since)).await?;
        for statement in carry_over(live, &next) {
            run(connection, &statement).await?;
        }
        set_checkpoints(connection, promotion, live, &next).await?;
        let grants: Vec<String> = sqlx::query_scalar(GRANTS).bind(live).bind(&next).fetch_all(&mut *connection).await?;
        for grant in grants {
            run(connection, &grant).await?;
        }
        for statement in rename(live, &next, &promotion.from.name) {
            run(connection, &statement).await?;
        }
        Ok(())
    }
}

/// Locks what every writer asks for first and readers of sessions don't, in the same order as they: who waits for it holds
/// nothing that is wanted later. Returns the checkpoints of the group.
async fn stop_writers(
    connection: &mut PgConnection,
    group_id: &str,
) -> Result<Vec<(TopicPartition, NextOffset)>, StoreError> {
    run(connection, &format!("/* lock_timeout */ SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis())).await?;
    run(connection, "/* lock_generation */ LOCK TABLE generation IN ACCESS EXCLUSIVE MODE").await?;
    run(connection, "/* lock_checkpoints_of_all */ LOCK TABLE checkpoints IN EXCLUSIVE MODE").await?;
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(CHECKPOINTS).bind(group_id).fetch_all(connection).await?;
    let place = |(topic, number, next): (String, i32, i64)| (TopicPartition::new(topic, number), NextOffset::new(next));
    Ok(rows.into_iter().map(place).collect())
}

/// All tables of both, the ones that writers begin with first: who holds one of these already needs the others to end.
async fn lock_tables(connection: &mut PgConnection, live: &str, next: &str) -> Result<(), StoreError> {
    for schema in [live, next] {
        let tables: Vec<String> = sqlx::query_scalar(TABLES).bind(schema).fetch_all(&mut *connection).await?;
        let names: Vec<String> = tables.iter().map(|table| format!("{}.{}", quoted(schema), quoted(table))).collect();
        if names.is_empty() {
            return Err(refused(format!("schema {schema} has no tables")));
        }
        run(connection, &format!("/* lock_tables */ LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "))).await?;
    }
    Ok(())
}

async fn id_of(connection: &mut PgConnection, schema: &str) -> Result<uuid::Uuid, StoreError> {
    let statement = format!("/* generation_id */ SELECT id FROM {}.generation", quoted(schema));
    Ok(sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await?)
}

/// What operators decided, and what nobody has heard yet.
fn carry_over(live: &str, next: &str) -> [String; 6] {
    let tombstones = copy_tombstones(live, next);
    let (live, next) = (quoted(live), quoted(next));
    let letter = "topic, partition, record_offset, record_timestamp, key, value, headers, reason, field_path, detail,
        status, attempts, created_at";
    let adopted = "group_id, topic, partition, from_offset, to_offset, log_start, log_end, adopted_at";
    [
        tombstones,
        // What was deleted since the generation was made.
        format!(
            "/* delete_what_was_deleted */
            DELETE FROM {next}.sessions s USING {next}.deleted_sessions d WHERE d.session_id = s.session_id"
        ),
        format!(
            "/* restore_what_was_restored */
            DELETE FROM {next}.deleted_sessions n
            WHERE NOT EXISTS (SELECT FROM {live}.deleted_sessions o WHERE o.session_id = n.session_id)"
        ),
        format!(
            "/* carry_over_letters_decided */
            UPDATE {next}.dead_letters n SET status = o.status, attempts = o.attempts
            FROM {live}.dead_letters o
            WHERE o.topic = n.topic AND o.partition = n.partition AND o.record_offset = n.record_offset
                AND o.record_timestamp IS NOT DISTINCT FROM n.record_timestamp AND o.status = 'discarded'
                AND n.status = 'open'"
        ),
        // Of records that the logs no longer had.
        format!(
            "/* carry_over_letters_gone */
            INSERT INTO {next}.dead_letters (id, {letter})
            SELECT id, {letter} FROM {live}.dead_letters o
            WHERE EXISTS (
                SELECT FROM {next}.replay_partitions r
                WHERE r.topic = o.topic AND r.partition = o.partition
                HAVING min(r.from_offset) > o.record_offset)
            AND NOT EXISTS (
                SELECT FROM {next}.dead_letters n
                WHERE n.topic = o.topic AND n.partition = o.partition AND n.record_offset = o.record_offset
                    AND n.record_timestamp IS NOT DISTINCT FROM o.record_timestamp)"
        ),
        format!(
            "/* carry_over_adopted_offsets */
            INSERT INTO {next}.adopted_offsets ({adopted})
            SELECT {adopted} FROM {live}.adopted_offsets
            EXCEPT SELECT {adopted} FROM {next}.adopted_offsets"
        ),
    ]
}

/// What nobody has heard yet; all of it, or what was written since. What stands there already was withheld when those
/// tables ceased to be the live ones, and is due again.
fn copy_transitions(live: &str, next: &str, since: Option<DateTime<Utc>>) -> String {
    let columns = "id, session_id, session_version, from_status, to_status, cause, occurred_at, payload, attempts,
        last_error, next_attempt_at, set_aside_at";
    let since = since.map_or_else(String::new, |since| format!("AND occurred_at >= '{}'", since.to_rfc3339()));
    format!(
        "/* copy_transitions */
        INSERT INTO {}.transitions ({columns}, carried_over)
        SELECT {columns}, carried_over + 1 FROM {}.transitions WHERE published_at IS NULL AND NOT withheld {since}
        ON CONFLICT (session_id, session_version, id) DO UPDATE SET withheld = false, attempts = excluded.attempts,
            last_error = excluded.last_error, next_attempt_at = excluded.next_attempt_at,
            set_aside_at = excluded.set_aside_at, carried_over = excluded.carried_over",
        quoted(next),
        quoted(live)
    )
}

/// What a promotion copied that came to no end, and was published since.
fn forget_copied(live: &str, next: &str) -> String {
    let (live, next) = (quoted(live), quoted(next));
    format!(
        "/* forget_copied_transitions */
        UPDATE {next}.transitions n SET withheld = true
        WHERE n.published_at IS NULL AND NOT n.withheld AND n.carried_over > 0 AND NOT EXISTS (
            SELECT FROM {live}.transitions o
            WHERE o.session_id = n.session_id AND o.session_version = n.session_version AND o.id = n.id
                AND o.published_at IS NULL AND NOT o.withheld)"
    )
}

/// What was published, or set aside, since the first copy was made.
fn settle_copied(live: &str, next: &str, since: DateTime<Utc>) -> String {
    let (live, next, since) = (quoted(live), quoted(next), since.to_rfc3339());
    format!(
        "/* settle_copied_transitions */
        WITH settled AS MATERIALIZED (
            SELECT session_id, session_version, id, published_at, set_aside_at, attempts, last_error
            FROM {live}.transitions WHERE published_at >= '{since}'
            UNION ALL
            SELECT session_id, session_version, id, published_at, set_aside_at, attempts, last_error
            FROM {live}.transitions WHERE set_aside_at >= '{since}'
        )
        UPDATE {next}.transitions n SET published_at = o.published_at, set_aside_at = o.set_aside_at,
            attempts = o.attempts, last_error = o.last_error, next_attempt_at = NULL
        FROM settled o
        WHERE n.session_id = o.session_id AND n.session_version = o.session_version AND n.id = o.id
            AND n.published_at IS NULL AND n.carried_over > 0"
    )
}

/// The rights of an owner go with the tables.
async fn check_owners(connection: &mut PgConnection, live: &str, next: &str) -> Result<(), StoreError> {
    const SAME: &str = "/* same_owner */
        SELECT count(DISTINCT nspowner) = 1 FROM pg_namespace WHERE nspname IN ($1, $2)";
    let same: bool = sqlx::query_scalar(SAME).bind(live).bind(next).fetch_one(connection).await?;
    if same { Ok(()) } else { Err(refused(format!("schemas {live} and {next} have different owners; make it one"))) }
}

/// Sessions that were deleted stay so.
pub(super) fn copy_tombstones(live: &str, next: &str) -> String {
    format!(
        "/* copy_tombstones */
        INSERT INTO {}.deleted_sessions SELECT * FROM {}.deleted_sessions ON CONFLICT (session_id) DO NOTHING",
        quoted(next),
        quoted(live)
    )
}

/// The group goes on where the replay ended.
async fn set_checkpoints(
    connection: &mut PgConnection,
    promotion: &Promotion<'_>,
    live: &str,
    next: &str,
) -> Result<(), StoreError> {
    let (live, next) = (quoted(live), quoted(next));
    let set = format!(
        "/* set_promoted_checkpoints */
        INSERT INTO {next}.checkpoints (group_id, topic, partition, next_offset)
        SELECT $1, topic, partition, next_offset FROM {next}.checkpoints WHERE group_id = $2
        ON CONFLICT (group_id, topic, partition) DO UPDATE
            SET next_offset = excluded.next_offset, updated_at = now(), caught_up_at = NULL"
    );
    let query = sqlx::query(AssertSqlSafe(set)).bind(promotion.group_id).bind(promotion.replay.group_id());
    query.execute(&mut *connection).await?;
    let missing = format!(
        "/* partitions_without_checkpoint */
        SELECT l.topic || '[' || l.partition || ']' FROM {live}.checkpoints l
        WHERE l.group_id = $1 AND l.topic = ANY($2) AND NOT EXISTS (
            SELECT FROM {next}.checkpoints n
            WHERE n.group_id = $1 AND n.topic = l.topic AND n.partition = l.partition)
        LIMIT 1"
    );
    let missing: Option<String> = sqlx::query_scalar(AssertSqlSafe(missing))
        .bind(promotion.group_id)
        .bind(promotion.topics)
        .fetch_optional(connection)
        .await?;
    missing.map_or(Ok(()), |partition| {
        Err(refused(format!("{} was not replayed into generation {}", partition, promotion.to.name)))
    })
}

fn rename(live: &str, next: &str, from: &GenerationName) -> [String; 3] {
    let previous = from.schema(live);
    let (live, next, previous) = (quoted(live), quoted(next), quoted(&previous));
    [
        format!("/* note_promotion */ UPDATE {next}.generation SET promoted_at = now()"),
        format!("/* rename_live */ ALTER SCHEMA {live} RENAME TO {previous}"),
        format!("/* rename_promoted */ ALTER SCHEMA {next} RENAME TO {live}"),
    ]
}

/// The statement is made of our own words and quoted names.
async fn run(connection: &mut PgConnection, statement: &str) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

fn refused(what: String) -> StoreError {
    StoreError::new(Failure::Setup, what)
}
