//! Traces, as a collector of our own gets them.

mod collector;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use sessionfold::{
    event::EventKind,
    generate::{GeneratedRecord, Generator, Shape},
};
use uuid::Uuid;

use crate::{
    deployment::{Deployment, MAX_VALUE_BYTES},
    http::{
        LISTEN, TOKEN,
        client::{Client, PATIENCE},
        exposition, ready,
    },
    program::{Instance, run, until},
    records::{ended, prompt, record, started, tool},
};

use collector::{Collector, Manner, Seen, Spans};

const SECRET: &str = "hunter2hunter2hunter2";

impl Deployment {
    /// Sends traces of everything there.
    fn trace_to(&mut self, endpoint: &str) {
        self.set("SESSIONFOLD_TRACES__ENDPOINT", endpoint);
        self.set("SESSIONFOLD_TRACES__SAMPLE", "1");
    }
}

/// Returns the log.
fn drain(deployment: &Deployment) -> String {
    let output = run(deployment, &["run", "--drain"]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    log
}

/// The id by which records made by hand know themselves.
fn id(number: u128) -> Uuid {
    format!("00000000-0000-0000-0000-000000000{number:03}").parse().unwrap()
}

async fn metric(client: &Client, name: &str, labels: &str) -> f64 {
    let metrics = exposition::parse(&client.get("/metrics").await.body);
    metrics[name].samples.get(labels).copied().unwrap_or_else(|| panic!("{name}{labels} has no sample"))
}

async fn dropped(client: &Client, reason: &str) -> f64 {
    metric(client, "sessionfold_traces_spans_dropped_total", &format!("{{reason=\"{reason}\"}}")).await
}

async fn until_applied(client: &Client, records: f64) {
    let applied = async || metric(client, "sessionfold_records_applied_total", "").await >= records;
    until("all records are applied", PATIENCE, applied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_by_its_correlation_id_and_linked_to_its_batch() {
    let collector = Collector::start(Manner::Takes).await;
    let mut deployment = Deployment::new(1).await;
    deployment.trace_to(&collector.endpoint());
    deployment.set("SESSIONFOLD_LOG__FILTER", "info,sessionfold=debug");
    deployment.set("SESSIONFOLD_TRACES__SERVICE_NAME", "sessions");
    deployment
        .send(&[
            started("s", 1, "2026-03-01T09:00:00Z"),
            prompt("s", 2, "2026-03-01T09:00:01Z"),
            prompt("s", 2, "2026-03-01T09:00:01Z"),
            tool("s", 3, "2026-03-01T09:00:02Z", "Bash"),
            ended("s", 4, "2026-03-01T09:00:03Z"),
            record(EventKind::Tool, "s", 5, "2026-03-01T09:00:03Z", json!({})),
            record(
                EventKind::Prompt,
                "s",
                0,
                "2026-03-01T09:00:04Z",
                json!({"prompt_preview": "", "prompt_length": 0}),
            ),
        ])
        .await;
    let log = drain(&deployment);
    let spans = collector.spans();

    // The dead letter is no event, and the nil id is none of a trace.
    let ids: BTreeMap<(Uuid, String), usize> = spans.events().iter().fold(BTreeMap::new(), |mut found, event| {
        *found.entry((event.trace_id, event.attribute("sessionfold.outcome").to_owned())).or_default() += 1;
        found
    });
    let applied = |number| ((id(number), "applied".to_owned()), 1);
    let expected = [applied(1), applied(2), ((id(2), "duplicate".to_owned()), 1), applied(3), applied(4)];
    assert_eq!(ids, BTreeMap::from(expected));
    let event = *spans.events().iter().find(|event| event.trace_id == id(3)).unwrap();
    let topic = deployment.topic(EventKind::Tool);
    assert_eq!(
        (event.name.as_str(), event.kind, event.failed),
        (format!("process {topic}").as_str(), SpanKind::Consumer, false)
    );
    assert!(event.parent.is_empty());
    for (name, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.consumer.group.name", deployment.group_id.as_str()),
        ("messaging.destination.name", topic),
        ("messaging.destination.partition.id", "0"),
        ("messaging.kafka.offset", "0"),
        ("messaging.message.conversation_id", "00000000-0000-0000-0000-000000000003"),
        ("session.id", "s"),
        ("sessionfold.event.kind", "hook.tool.executed"),
        ("sessionfold.event.id", "00000000-0000-0000-0000-000000000003"),
        ("sessionfold.event.causation_id", "00000000-0000-0000-0000-000000000003"),
    ] {
        assert_eq!(event.attribute(name), value, "{name}");
    }
    assert_eq!(spans.0.iter().map(|span| &span.span_id).collect::<BTreeSet<_>>().len(), spans.0.len());

    assert_eq!(spans.sum("messaging.batch.message_count"), 7);
    assert_eq!(spans.sum("sessionfold.records.applied"), 5);
    assert_eq!(spans.sum("sessionfold.records.duplicate"), 1);
    assert_eq!(spans.sum("sessionfold.records.dead_letter"), 1);
    assert_eq!(spans.sum("sessionfold.records.let_go"), 0);
    for batch in spans.batches() {
        assert_batch_is_whole(&spans, batch, &log);
    }
    for event in spans.events() {
        let batch = spans.batches().into_iter().find(|batch| event.links == [(batch.trace_id, batch.span_id.clone())]);
        let batch = batch.expect("the batch that it is linked to");
        assert!(batch.begun == event.begun && event.ended <= batch.ended);
    }
    let resource = &collector.resources()[0];
    assert_eq!(
        (resource["service.name"].as_str(), resource["service.version"].as_str()),
        ("sessions", env!("CARGO_PKG_VERSION"))
    );
    assert!(resource["service.instance.id"].parse::<Uuid>().is_ok());
}

/// With its stations, one after the other within it; and the log knows it by the id of its trace.
fn assert_batch_is_whole(spans: &Spans, batch: &Seen, log: &str) {
    assert_eq!((batch.kind, batch.failed, batch.links.len()), (SpanKind::Consumer, false, 0));
    assert!(batch.parent.is_empty());
    assert_eq!(batch.attribute("sessionfold.outcome"), "committed");
    assert_eq!(batch.attribute("sessionfold.tries"), "1");
    assert!(log.contains(&format!("correlation_id={}", batch.trace_id)));
    let children = spans.children(batch);
    let names: Vec<_> = children.iter().map(|child| (child.name.as_str(), child.kind)).collect();
    let expected = [("look_up", SpanKind::Client), ("fold", SpanKind::Internal), ("commit", SpanKind::Client)];
    assert_eq!(names, expected);
    let mut at = batch.begun;
    for child in children {
        assert!(child.trace_id == batch.trace_id && at <= child.begun && child.begun <= child.ended);
        assert!(!child.failed);
        at = child.ended;
    }
    assert!(at <= batch.ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_what_an_event_says_is_in_a_span() {
    const PRIVATE: &str = "planted-and-private";
    let collector = Collector::start(Manner::Takes).await;
    let mut deployment = Deployment::new(1).await;
    deployment.trace_to(&collector.endpoint());
    let start = json!({"working_directory": PRIVATE, "git_branch": PRIVATE, "hook_source": "startup",
        "task_id": PRIVATE, "action_description": PRIVATE});
    let said = json!({"prompt_preview": PRIVATE, "prompt_length": 5, "detected_intent": PRIVATE});
    let done = json!({"tool_name": PRIVATE, "summary": PRIVATE});
    // One that Postgres is to refuse, and whose words it might quote.
    let refused = json!({"prompt_preview": format!("refuse {PRIVATE}"), "prompt_length": 5});
    let mut connection = deployment.connect().await;
    let check = "ALTER TABLE prompts ADD CHECK (prompt_preview NOT LIKE 'refuse%')";
    sqlx::Executor::execute(&mut connection, check).await.unwrap();
    let at = "2026-03-01T09:00:00Z";
    deployment
        .send(&[
            record(EventKind::Started, "s", 1, at, start),
            record(EventKind::Prompt, "s", 2, at, said),
            record(EventKind::Tool, "s", 3, at, done),
            record(EventKind::Prompt, "s", 4, at, refused),
        ])
        .await;
    drain(&deployment);
    let spans = collector.spans();
    let outcomes: BTreeMap<_, _> =
        spans.events().into_iter().map(|event| (event.trace_id, event.attribute("sessionfold.outcome"))).collect();
    let expected = [(id(1), "applied"), (id(2), "applied"), (id(3), "applied"), (id(4), "dead_letter")];
    assert_eq!(outcomes, BTreeMap::from(expected));
    let condemned = *spans.events().iter().find(|event| event.trace_id == id(4)).unwrap();
    assert!(condemned.failed && condemned.attribute("sessionfold.reason") == "unstorable");
    let of_condemned = spans.batches().into_iter().find(|batch| condemned.links[0].0 == batch.trace_id).unwrap();
    assert_eq!(of_condemned.attribute("sessionfold.outcome"), "retried");
    let failed: Vec<_> = spans.children(of_condemned).into_iter().filter(|station| station.failed).collect();
    assert!(!failed.is_empty());
    for station in failed {
        assert_eq!((station.name.as_str(), station.attribute("error.type")), ("commit", "data"));
        assert_eq!(station.attribute("db.response.status_code"), "23514");
    }
    for body in collector.bodies() {
        assert!(!String::from_utf8_lossy(&body).contains(PRIVATE));
    }
}

fn generated(records: usize) -> Vec<GeneratedRecord> {
    let shape = Shape { records: records as u64, seed: 83, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() };
    Generator::new(shape).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instance_takes_the_same_correlation_ids_and_of_each_all_events() {
    let records = generated(3_000);
    let mut taken = Vec::new();
    for (share, lanes) in [("1", "1"), ("0.5", "1"), ("0.5", "2")] {
        let collector = Collector::start(Manner::Takes).await;
        let mut deployment = Deployment::new(2).await;
        deployment.trace_to(&collector.endpoint());
        deployment.set("SESSIONFOLD_TRACES__SAMPLE", share);
        deployment.set("SESSIONFOLD_BATCH__LANES", lanes);
        deployment.send(&records).await;
        drain(&deployment);
        let spans = collector.spans();
        assert_eq!(spans.sum("messaging.batch.message_count"), records.len() as u64);
        let mut events: BTreeMap<Uuid, usize> = BTreeMap::new();
        spans.events().iter().for_each(|event| *events.entry(event.trace_id).or_default() += 1);
        taken.push(events);
    }
    let [all, half, other_half] = taken.try_into().unwrap();
    assert!(all.len() > 20 && half.len() < all.len() && !half.is_empty(), "{} of {}", half.len(), all.len());
    assert_eq!(half, other_half);
    assert!(half.iter().all(|(id, events)| all.get(id) == Some(events)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_slow_or_hostile_holds_up_neither_work_nor_a_stop_and_what_is_dropped_is_counted() {
    let collector = Collector::start(Manner::Takes).await;
    let mut deployment = Deployment::new(1).await;
    // Less than one batch has.
    deployment.set("SESSIONFOLD_TRACES__MAX_WAITING", "2");
    let (mut second, away) = (0, "http://127.0.0.1:1/v1/traces".to_owned());
    for (endpoint, manner, reason, words) in [
        (&away, Manner::Takes, "queue_full", "Connection refused"),
        (&collector.endpoint(), Manner::Hangs, "queue_full", ""),
        (&collector.endpoint(), Manner::Echoes(503), "queue_full", "it answers with status 503"),
        (&collector.endpoint(), Manner::Echoes(500), "refused", "it answers with status 500"),
        (&collector.endpoint(), Manner::TakesWithout(1), "refused", ""),
        (&collector.endpoint(), Manner::Endless, "queue_full", ""),
    ] {
        collector.turn_to(manner);
        deployment.trace_to(endpoint);
        let asked = collector.requests();
        let (mut instance, client) = ready(&mut deployment).await;
        for records in 1..=3_u8 {
            second += 1;
            let at = format!("2026-03-01T09:00:{second:02}Z");
            deployment.send(&[prompt("s", second, &at)]).await;
            until_applied(&client, records.into()).await;
        }
        let counted = async || dropped(&client, reason).await > 0.0;
        until(&format!("{manner:?} is counted"), PATIENCE, counted).await;
        if !words.is_empty() {
            until("the log says so", PATIENCE, async || instance.said(words) > 0).await;
        }
        if *endpoint != away {
            until("it was asked", PATIENCE, async || collector.requests() > asked).await;
        }
        assert_eq!(client.status("/readyz").await, 200);
        let took = instance.stop().await;
        assert!(took < Duration::from_secs(5), "{manner:?}: {took:?}");
        assert!(instance.said("the collector does not take traces") <= 1, "{}", instance.log());
        assert_eq!(instance.said("a part ended"), 0, "{}", instance.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_although_the_collector_hangs_and_its_end_waits_for_the_last_spans_only() {
    let collector = Collector::start(Manner::Hangs).await;
    let mut deployment = Deployment::new(1).await;
    deployment.trace_to(&collector.endpoint());
    deployment.send(&generated(2_000)).await;
    drain(&deployment);
    // What waited when it ended was tried, and given up.
    assert!(collector.requests() > 0);

    let taking = Collector::start(Manner::Takes).await;
    let mut deployment = Deployment::new(1).await;
    deployment.trace_to(&taking.endpoint());
    deployment.set("SESSIONFOLD_TRACES__MAX_WAITING", "100000");
    let records = generated(8_000);
    deployment.send(&records).await;
    drain(&deployment);
    let spans = taking.spans();
    assert_eq!(spans.sum("messaging.batch.message_count"), records.len() as u64);
    let told = ["applied", "duplicate"].map(|outcome| spans.sum(&format!("sessionfold.records.{outcome}")));
    assert_eq!(spans.events().len() as u64, told.iter().sum::<u64>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_comes_back_gets_what_waited_and_a_stop_sends_the_last_spans() {
    let collector = Collector::start(Manner::Echoes(503)).await;
    let mut deployment = Deployment::new(1).await;
    deployment.trace_to(&collector.endpoint());
    let (mut instance, client) = ready(&mut deployment).await;
    deployment.send(&[prompt("s", 1, "2026-03-01T09:00:00Z")]).await;
    until("it was refused again and again", PATIENCE, async || collector.requests() > 2).await;
    assert_eq!(instance.said("the collector does not take traces"), 1);
    collector.turn_to(Manner::Takes);
    let has = |number| move |spans: &Spans| spans.events().iter().any(|event| event.trace_id == id(number));
    collector.until_it_has("the event that waited", has(1)).await;
    until("the log says so", PATIENCE, async || instance.said("the collector takes traces again") == 1).await;
    assert_eq!(dropped(&client, "given_up").await + dropped(&client, "refused").await, 0.0);

    // Killed, the part is begun anew and goes on.
    let host = client.address;
    let kill = format!("POST /debug/parts/traces/kill HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n");
    assert_eq!(client.send(&kill).await.status, 202);
    deployment.send(&[prompt("s", 2, "2026-03-01T09:00:01Z")]).await;
    collector.until_it_has("the event after the part was killed", has(2)).await;
    assert_eq!(instance.said("a part ended; it is begun anew part=\"traces\""), 1);
    let sent =
        async || metric(&client, "sessionfold_traces_spans_sent_total", "").await >= collector.spans().0.len() as f64;
    until("all that it has is counted", PATIENCE, sent).await;

    deployment.send(&[prompt("s", 3, "2026-03-01T09:00:02Z")]).await;
    until_applied(&client, 3.0).await;
    instance.stop().await;
    assert!(has(3)(&collector.spans()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_knows_us_by_arrives_there_and_nowhere_else() {
    let collector = Collector::start(Manner::Echoes(401)).await;
    let mut deployment = Deployment::new(1).await;
    let endpoint = format!("http://{}/v1/traces?key={SECRET}", collector.address);
    deployment.trace_to(&endpoint);
    deployment.set("SESSIONFOLD_TRACES__TOKEN", SECRET);
    deployment.set("SESSIONFOLD_TRACES__HEADERS", "x-team=a,x-key=hunter2%2Chunter2");
    deployment.set("SESSIONFOLD_LOG__FILTER", "debug");
    deployment.set(TOKEN, "0123456789abcdef");
    deployment.set(LISTEN, "127.0.0.1:0");
    let mut instance = Instance::start(&deployment, &["run"]);
    let client = Client { token: Some("0123456789abcdef".to_owned()), ..Client::of(&instance).await };
    client.until_ready().await;
    for (second, manner) in
        [Manner::Echoes(401), Manner::Echoes(503), Manner::TakesWithout(1), Manner::Takes].into_iter().enumerate()
    {
        collector.turn_to(manner);
        let asked = collector.requests();
        deployment.send(&[prompt("s", second as u8 + 1, &format!("2026-03-01T09:00:0{second}Z"))]).await;
        until("the collector is asked", PATIENCE, async || collector.requests() > asked).await;
    }
    for headers in collector.headers() {
        assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
        assert_eq!(
            (&headers["x-team"], &headers["x-key"]),
            (&"a".parse().unwrap(), &"hunter2,hunter2".parse().unwrap())
        );
        assert!(headers["user-agent"].to_str().unwrap().starts_with("sessionfold/"));
    }
    for path in ["/metrics", "/healthz", "/readyz", "/livez"] {
        let answer = client.get(path).await;
        assert!(!answer.body.contains("hunter2"), "{path}: {}", answer.body);
    }
    instance.stop().await;
    assert!(!instance.log().contains("hunter2"), "{}", instance.log());
    for body in collector.bodies() {
        assert!(!String::from_utf8_lossy(&body).contains("hunter2"));
    }
    for command in ["config", "check"] {
        let output = run(&deployment, &[command]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success() && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_checkpoint_another_writer_moved_says_so() {
    let collector = Collector::start(Manner::Takes).await;
    let mut deployment = Deployment::new(1).await;
    deployment.trace_to(&collector.endpoint());
    deployment.set("SESSIONFOLD_BATCH__MAX_WAIT", "1ms");
    let (mut instance, client) = ready(&mut deployment).await;
    deployment.send(&[prompt("s", 1, "2026-03-01T09:00:00Z")]).await;
    until_applied(&client, 1.0).await;
    // Another writer, that is.
    let mut connection = deployment.connect().await;
    let moved = "UPDATE checkpoints SET next_offset = next_offset + 1 WHERE topic LIKE '%prompt%'";
    sqlx::Executor::execute(&mut connection, moved).await.unwrap();
    deployment.send(&[prompt("s", 2, "2026-03-01T09:00:01Z"), prompt("s", 3, "2026-03-01T09:00:02Z")]).await;
    let fenced = |spans: &Spans| spans.batches().iter().any(|batch| batch.attribute("sessionfold.outcome") == "fenced");
    let spans = collector.until_it_has("a batch that was fenced", fenced).await;
    let batches = spans.batches();
    let batch = batches.into_iter().find(|batch| batch.attribute("sessionfold.outcome") == "fenced").unwrap();
    assert_eq!(batch.attribute("sessionfold.records.let_go"), batch.attribute("messaging.batch.message_count"));
    assert!(!batch.failed);
    let failed: Vec<_> = spans.children(batch).into_iter().filter(|station| station.failed).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].name.as_str(), failed[0].attribute("error.type")), ("commit", "fenced"));
    instance.stop().await;
}
