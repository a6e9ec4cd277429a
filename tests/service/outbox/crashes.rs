//! Publishers are killed while they publish.

use std::{collections::BTreeSet, time::Duration};

use sqlx::Executor;

use crate::{
    deployment::Deployment,
    program::{Instance, until},
};

use super::{
    PATIENCE, UNPUBLISHED, count, insert,
    topic::{messages, ordered_by_session},
    until_published, with_topic,
};

#[tokio::test(flavor = "multi_thread")]
async fn under_kills_each_transition_arrives_and_in_order_with_three_instances_at_once() {
    const KILLS: usize = 9;
    let mut deployment = Deployment::new(1).await;
    let topic = with_topic(&mut deployment).await;
    deployment.set("SESSIONFOLD_OUTBOX__BATCH", "200");
    // Most of a round is spent sending, so that most kills come then.
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__LINGER_MS", "50");
    let mut connection = deployment.connect().await;
    let mut instances = [(); 3].map(|()| Instance::start(&deployment, &["run"]));
    let (mut random, mut interrupted) = (fastrand::Rng::with_seed(71), 0);
    for kill in 0..KILLS {
        let victim = kill % 3;
        until("it is at work", PATIENCE, async || instances[victim].said(": started: ") > 0).await;
        insert(&mut connection, &format!("s{kill}"), 800, 4).await;
        let left = random.i64(1_000..3_000);
        until("so many are left", PATIENCE, async || count(&mut connection, UNPUBLISHED).await <= left).await;
        tokio::time::sleep(Duration::from_micros(random.u64(0..20_000))).await;
        assert!(instances[victim].is_running(), "it ended by itself: {}", instances[victim].log());
        instances[victim].kill();
        interrupted += usize::from(count(&mut connection, UNPUBLISHED).await > 0);
        instances[victim] = Instance::start(&deployment, &["run"]);
    }
    assert!(interrupted > KILLS / 2, "{interrupted} kills found anything to do");
    until_published(&mut connection).await;
    for instance in &mut instances {
        instance.stop().await;
    }
    let found = messages(&deployment, &topic);
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id::text FROM transitions").fetch_all(&mut connection).await.unwrap();
    assert_eq!(ids.len(), KILLS * 3_200);
    let (arrived, written) = (ordered_by_session(&found), ids.iter().map(String::as_str).collect::<BTreeSet<_>>());
    assert!(arrived == written, "{} of {} arrived", arrived.len(), written.len());
    println!("{KILLS} kills: {} transitions, {} of them sent again", ids.len(), found.len() - ids.len());
}

/// It is killed after the delivery and before the mark, which a trigger holds up.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_instance_had_delivered_and_not_marked_is_sent_again_with_the_same_ids() {
    let mut deployment = Deployment::new(1).await;
    let topic = with_topic(&mut deployment).await;
    let (mut connection, mut blocker) = (deployment.connect().await, deployment.connect().await);
    let trigger = "CREATE FUNCTION wait_for_a_test() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
        CREATE TRIGGER wait_for_a_test BEFORE UPDATE ON transitions
            FOR EACH ROW WHEN (NEW.published_at IS NOT NULL) EXECUTE FUNCTION wait_for_a_test()";
    sqlx::raw_sql(trigger).execute(&mut connection).await.unwrap();
    blocker.execute("SELECT pg_advisory_lock(7)").await.unwrap();
    insert(&mut connection, "s", 20, 2).await;
    let mut instance = Instance::start(&deployment, &["run"]);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND query LIKE '%mark_published%' AND wait_event_type = 'Lock'";
    until("the mark waits", PATIENCE, async || count(&mut connection, waiting).await == 1).await;
    instance.kill();
    blocker.execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    assert_eq!(count(&mut connection, UNPUBLISHED).await, 40);
    assert_eq!(messages(&deployment, &topic).len(), 40);

    let mut instance = Instance::start(&deployment, &["run"]);
    until_published(&mut connection).await;
    instance.stop().await;
    let found = messages(&deployment, &topic);
    assert_eq!((found.len(), ordered_by_session(&found).len()), (80, 40));
}
