//! The rights that the operator's guide asks for are enough.

use std::time::Duration;

use serde_json::json;
use sessionfold::{
    event::EventKind,
    fold::{Aggregators, Convergent, SideAggregators},
    service::{Service, open_store},
    stream::Until,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    by_tool::ByTool,
    deployment::Deployment,
    faults_of_setup::assert_refused,
    outbox::with_topic,
    program::{Instance, run, until},
    records::{prompt, record, started, tool},
};

/// The URL of this role, which is made with the password `p`, on the deployment's database.
async fn role(deployment: &Deployment, kind: &str) -> (String, String) {
    let role = format!("{kind}_{}", deployment.group_id.replace('-', "_"));
    let statement = format!("CREATE ROLE {role} LOGIN PASSWORD 'p'");
    deployment.connect().await.execute(AssertSqlSafe(statement)).await.unwrap();
    let (_, host) = deployment.url.rsplit_once('@').unwrap();
    let url = format!("postgres://{role}:p@{host}");
    (role, url)
}

/// The statements of the guide.
fn grants() -> Vec<String> {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    guide.lines().filter(|line| line.starts_with("GRANT ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_documented_rights_runs_verifies_and_repairs() {
    let mut deployment = Deployment::new(1).await;
    let (mut connection, (role, url)) = (deployment.connect().await, role(&deployment, "service").await);
    let grants = grants();
    assert!(grants.len() >= 2, "{grants:?}");
    for grant in grants {
        connection.execute(AssertSqlSafe(grant.replace(" TO service", &format!(" TO {role}")))).await.unwrap();
    }
    deployment.set("SESSIONFOLD_POSTGRES__URL", &url);
    deployment.set("SESSIONFOLD_POSTGRES__MIGRATE", "false");

    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), prompt("s", 2, "2026-03-01T09:00:01Z")]).await;
    let output = run(&deployment, &["run", "--drain"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // An aggregator that joins later is folded anew; and an earlier version of an event replaces a stored one.
    deployment.send(&[tool("s", 3, "2026-03-01T09:00:03Z", "Bash"), prompt("s", 2, "2026-03-01T09:00:00Z")]).await;
    deployment.send(&[record(EventKind::Tool, "s", 4, "2026-03-01T09:00:04Z", json!({}))]).await;
    let config = deployment.config();
    let aggregators = Aggregators { session: Convergent::default(), sides: SideAggregators::new().with(ByTool) };
    let service = Service::start(&config, open_store(&config), aggregators, Until::Drained).unwrap();
    assert_eq!(service.run().await.unwrap().records(), 3);

    for command in [
        &["verify", "--repair", "--yes"][..],
        &["dead-letters", "redrive", "--yes"],
        &["dead-letters", "discard", "--yes"],
        &["retention", "--yes", "--set", "retention.sessions=1ms", "--set", "retention.dead_letters=1ms"],
        &["offsets", "adopt", "--topic", deployment.topic(EventKind::Tool), "--partition", "0", "--to", "0", "--yes"],
        &["offsets", "show"],
        &["transitions", "list"],
        &["transitions", "retry", "--yes"],
    ] {
        let output = run(&deployment, command);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let left = "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM dead_letters)";
    assert_eq!(sqlx::query_scalar::<_, i64>(left).fetch_one(&mut deployment.connect().await).await.unwrap(), 0);
}

/// By a service that also times out a session, which writes another transition, and publishes both.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_documented_rights_sweeps_and_publishes() {
    let mut deployment = Deployment::new(1).await;
    let (mut connection, (role, url)) = (deployment.connect().await, role(&deployment, "service").await);
    for grant in grants() {
        connection.execute(AssertSqlSafe(grant.replace(" TO service", &format!(" TO {role}")))).await.unwrap();
    }
    deployment.set("SESSIONFOLD_POSTGRES__URL", &url);
    deployment.set("SESSIONFOLD_POSTGRES__MIGRATE", "false");
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "200ms");
    with_topic(&mut deployment).await;
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z")]).await;
    let mut instance = Instance::start(&deployment, &["run"]);
    let swept = async || {
        let timed_out = "SELECT count(*) FROM sessions WHERE status = 'timed_out'";
        sqlx::query_scalar::<_, i64>(timed_out).fetch_one(&mut connection).await.unwrap() == 1
    };
    until("the silent session is timed out", Duration::from_secs(60), swept).await;
    let published = async || {
        let published = "SELECT count(*) FROM transitions WHERE published_at IS NOT NULL";
        sqlx::query_scalar::<_, i64>(published).fetch_one(&mut connection).await.unwrap() == 2
    };
    until("both changes are published", Duration::from_secs(60), published).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_no_superuser_migrates_and_another_role_runs() {
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_POSTGRES__SCHEMA", "owned");
    let ((owner, owners_url), (service, services_url)) =
        (role(&deployment, "owner").await, role(&deployment, "service").await);
    let mut superuser = deployment.connect().await;
    let database: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut superuser).await.unwrap();
    superuser.execute(AssertSqlSafe(format!("ALTER DATABASE {database} OWNER TO {owner}"))).await.unwrap();

    // The service's role may not make a schema, and says so.
    deployment.set("SESSIONFOLD_POSTGRES__URL", &services_url);
    assert_refused(&run(&deployment, &["migrate"]), 1, &["permission denied for database"]);
    deployment.set("SESSIONFOLD_POSTGRES__URL", &owners_url);
    let output = run(&deployment, &["migrate"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut connection = PgConnection::connect(&owners_url).await.unwrap();
    for grant in grants() {
        let grant = grant.replace("sessionfold", "owned").replace(" TO service", &format!(" TO {service}"));
        connection.execute(AssertSqlSafe(grant)).await.unwrap();
    }

    deployment.set("SESSIONFOLD_POSTGRES__URL", &services_url);
    deployment.set("SESSIONFOLD_POSTGRES__MIGRATE", "false");
    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), prompt("s", 2, "2026-03-01T09:00:01Z")]).await;
    let output = run(&deployment, &["run", "--drain"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let events: i64 = sqlx::query_scalar("SELECT sum(event_count)::bigint FROM owned.sessions")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(events, 2);
}
