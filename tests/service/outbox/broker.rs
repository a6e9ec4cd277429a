//! The broker is away, or has lost the topic. No transition is blamed for that.

use sessionfold::{
    devstack::{Broker, Options},
    stream::create_topics,
};

use crate::{
    deployment::Deployment,
    program::{Instance, until},
    tansu::Tansu,
};

use super::{
    PATIENCE, count, insert,
    topic::{messages, ordered_by_session},
    until_published, with_topic,
};

const ATTEMPTS: &str = "SELECT sum(attempts) FROM transitions";
const SAID: &str = "transitions were not published";

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_stands_still_nothing_is_blamed_and_afterwards_all_arrive() {
    let mut broker = Broker::start(&Options::default()).await.unwrap();
    let mut deployment = Deployment::at(&broker.bootstrap(), 1).await;
    let topic = with_topic(&mut deployment).await;
    let mut connection = deployment.connect().await;
    let mut instance = Instance::start(&deployment, &["run"]);
    insert(&mut connection, "before", 20, 2).await;
    until_published(&mut connection).await;
    broker.pause().unwrap();
    insert(&mut connection, "during", 50, 3).await;
    until("it says so, twice", PATIENCE, async || instance.said(SAID) >= 2).await;
    assert!(instance.is_running());
    broker.resume().unwrap();
    until_published(&mut connection).await;
    assert_eq!(count(&mut connection, ATTEMPTS).await, 0);
    instance.stop().await;
    assert_eq!(ordered_by_session(&messages(&deployment, &topic)).len(), 190);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_gone_is_waited_for_and_not_made() {
    let broker = Broker::start(&Options::default()).await.unwrap();
    let address = broker.bootstrap();
    let mut deployment = Deployment::at(&address, 1).await;
    let topic = with_topic(&mut deployment).await;
    let mut connection = deployment.connect().await;
    let mut instance = Instance::start(&deployment, &["run"]);
    insert(&mut connection, "before", 20, 1).await;
    until_published(&mut connection).await;
    broker.stop().await;
    insert(&mut connection, "after", 20, 2).await;
    until("it says that the broker is away", PATIENCE, async || instance.said(SAID) > 0).await;
    let (_, port) = address.rsplit_once(':').unwrap();
    let _successor = Tansu::start(port.parse().unwrap(), &address, &["--silent"]).await;
    deployment.create_topics(1).await;
    until("it says that there is no topic", PATIENCE, async || instance.said(&format!("{topic} doesn't exist")) > 0)
        .await;
    create_topics(&deployment.config().kafka, std::slice::from_ref(&topic), 3).await.unwrap();
    until_published(&mut connection).await;
    assert_eq!(count(&mut connection, ATTEMPTS).await, 0);
    instance.kill();
    assert_eq!(ordered_by_session(&messages(&deployment, &topic)).len(), 40);
}
