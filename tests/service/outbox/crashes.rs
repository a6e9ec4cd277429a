//! Publishers are killed while they publish.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    deployment::Deployment,
    program::{Instance, until},
};

use super::{
    PATIENCE, count, insert,
    topic::{messages, ordered_by_session},
    until_published, with_topic,
};

#[tokio::test(flavor = "multi_thread")]
async fn under_kills_each_transition_arrives_and_in_order_with_three_instances_at_once() {
    const KILLS: usize = 9;
    let mut deployment = Deployment::new(1).await;
    let topic = with_topic(&mut deployment).await;
    deployment.set("SESSIONFOLD_OUTBOX__BATCH", "40");
    let mut connection = deployment.connect().await;
    let mut instances = [(); 3].map(|()| Instance::start(&deployment, &["run"]));
    let mut random = fastrand::Rng::with_seed(71);
    for kill in 0..KILLS {
        let before = count(&mut connection, "SELECT count(*) FROM transitions WHERE published_at IS NOT NULL").await;
        insert(&mut connection, &format!("s{kill}"), 400, 4).await;
        let some = async || {
            let published = "SELECT count(*) FROM transitions WHERE published_at IS NOT NULL";
            count(&mut connection, published).await > before + random.i64(0..600)
        };
        until("some are published", PATIENCE, some).await;
        tokio::time::sleep(Duration::from_micros(random.u64(0..20_000))).await;
        let victim = &mut instances[kill % 3];
        assert!(victim.is_running(), "it ended by itself: {}", victim.log());
        victim.kill();
        *victim = Instance::start(&deployment, &["run"]);
    }
    until_published(&mut connection).await;
    for instance in &mut instances {
        instance.stop().await;
    }
    let found = messages(&deployment, &topic);
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id::text FROM transitions").fetch_all(&mut connection).await.unwrap();
    assert_eq!(ids.len(), KILLS * 1_600);
    let (arrived, written) = (ordered_by_session(&found), ids.iter().map(String::as_str).collect::<BTreeSet<_>>());
    assert!(arrived == written, "{} of {} arrived", arrived.len(), written.len());
    println!("{KILLS} kills: {} transitions, {} of them sent again", ids.len(), found.len() - ids.len());
}
