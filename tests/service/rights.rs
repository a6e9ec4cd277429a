//! The rights that the operator's guide asks for are enough.

use sessionfold::{
    fold::{Aggregators, Convergent, SideAggregators},
    service::{Service, open_store},
    stream::Until,
};
use sqlx::{AssertSqlSafe, Executor};

use crate::{
    by_tool::ByTool,
    deployment::Deployment,
    program::run,
    records::{prompt, started, tool},
};

/// The statements of the guide.
fn grants() -> Vec<String> {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    guide.lines().filter(|line| line.starts_with("GRANT ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_documented_rights_runs_verifies_and_repairs() {
    let mut deployment = Deployment::new(1).await;
    let (mut connection, role) =
        (deployment.connect().await, format!("service_{}", deployment.group_id.replace('-', "_")));
    connection.execute(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN PASSWORD 'p'"))).await.unwrap();
    let grants = grants();
    assert!(grants.len() >= 2, "{grants:?}");
    for grant in grants {
        connection.execute(AssertSqlSafe(grant.replace(" TO service", &format!(" TO {role}")))).await.unwrap();
    }
    let (_, url) = deployment.settings.iter().find(|(name, _)| name == "SESSIONFOLD_POSTGRES__URL").unwrap();
    let (_, host) = url.rsplit_once('@').unwrap();
    let url = format!("postgres://{role}:p@{host}");
    deployment.set("SESSIONFOLD_POSTGRES__URL", &url);
    deployment.set("SESSIONFOLD_POSTGRES__MIGRATE", "false");

    deployment.send(&[started("s", 1, "2026-03-01T09:00:00Z"), prompt("s", 2, "2026-03-01T09:00:01Z")]).await;
    let output = run(&deployment, &["run", "--drain"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // An aggregator that joins later is folded anew; and an earlier version of an event replaces a stored one.
    deployment.send(&[tool("s", 3, "2026-03-01T09:00:03Z", "Bash"), prompt("s", 2, "2026-03-01T09:00:00Z")]).await;
    let config = deployment.config();
    let aggregators = Aggregators { session: Convergent::default(), sides: SideAggregators::new().with(ByTool) };
    let service = Service::start(&config, open_store(&config), aggregators, Until::Drained).unwrap();
    assert_eq!(service.run().await.unwrap().records(), 2);

    let output = run(&deployment, &["verify", "--repair", "--yes"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
