//! Records that were made to do harm.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rdkafka::{
    ClientConfig,
    message::{Header as OutgoingHeader, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};
use sessionfold::{
    event::EventKind,
    generate::{GeneratedRecord, Generator, Shape},
    record::Header,
};

use crate::{
    crashes::until_committed,
    deployment::{Deployment, MAX_VALUE_BYTES},
    expected::Expected,
    program::Instance,
    records::record,
    tables::assert_tables_equal,
};

const KINDS: [EventKind; 4] = [EventKind::Started, EventKind::Ended, EventKind::Prompt, EventKind::Tool];
const TIMESTAMP_MILLIS: i64 = 1_772_355_600_000;
const EMITTED_AT: &str = "2026-03-01T09:00:00Z";
const DEFAULT_MAX_VALUE_BYTES: usize = 1 << 20;
const DEPTH: usize = 10_000;
const HUGE: usize = 10 << 20;
/// Two batches of 32 MiB, 12 MiB fetched ahead, the sessions that were committed last, and what becomes of a batch on its
/// way into the database.
const MOST_MEMORY: u64 = 300 << 20;

/// A record as no well-meaning producer sends it.
struct Hostile {
    kind: EventKind,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
    timestamp_millis: i64,
}

impl Hostile {
    fn new(kind: EventKind, value: impl Into<Vec<u8>>) -> Self {
        let (key, value) = (Some(b"key".to_vec()), Some(value.into()));
        Self { kind, key, value, headers: Vec::new(), timestamp_millis: TIMESTAMP_MILLIS }
    }

    /// As far as the model looks at it.
    fn for_the_model(&self) -> GeneratedRecord {
        let name = |header: &Header| String::from_utf8(header.key.to_vec()).ok();
        let value = |header: &Header| header.value.as_deref().map(<[u8]>::to_vec);
        GeneratedRecord {
            kind: self.kind,
            key: self.key.clone().unwrap_or_default(),
            value: self.value.clone(),
            headers: self.headers.iter().filter_map(|header| Some((name(header)?, value(header)))).collect(),
            timestamp_millis: self.timestamp_millis,
            intended: None,
        }
    }
}

impl From<GeneratedRecord> for Hostile {
    /// A good one, to stand between the others.
    fn from(good: GeneratedRecord) -> Self {
        let (kind, timestamp_millis) = (good.kind, good.timestamp_millis);
        Self { kind, key: Some(good.key), value: good.value, headers: headers(good.headers), timestamp_millis }
    }
}

fn headers<N: AsRef<[u8]>>(headers: impl IntoIterator<Item = (N, Option<Vec<u8>>)>) -> Vec<Header> {
    let header =
        |(name, value): (N, Option<Vec<u8>>)| Header { key: name.as_ref().into(), value: value.map(Into::into) };
    headers.into_iter().map(header).collect()
}

/// An event whose member `field` has a value that is written as given, be it JSON or not.
fn event_with(kind: EventKind, session: &str, field: &str, written: &str) -> String {
    let mut fields = match kind {
        EventKind::Started => json!({"working_directory": "/work", "hook_source": "startup"}),
        EventKind::Ended => json!({"reason": "other", "tools_used_count": 0}),
        EventKind::Prompt => json!({"prompt_preview": "do it", "prompt_length": 5}),
        EventKind::Tool => json!({"tool_name": "Bash"}),
    };
    fields[field] = "@written@".into();
    let good = record(kind, session, 1, EMITTED_AT, fields).value.unwrap();
    String::from_utf8(good).unwrap().replace("\"@written@\"", written)
}

fn good(kind: EventKind, session: &str) -> String {
    event_with(kind, session, "action_description", "\"\"")
}

/// Members of events: numbers, texts and depths that a reader may stumble over.
fn written() -> Vec<String> {
    let numbers = [
        "1e999",
        "-1e999",
        "1e308",
        "-1e308",
        "1e-999",
        "-0",
        "-0.0",
        "0.0",
        "-1",
        "-5",
        "1.5",
        "01",
        ".5",
        "1e3",
        "NaN",
        "Infinity",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "2147483648",
        "123456789012345678901234567890",
        "null",
        "true",
    ];
    let texts = [
        r#""\u0000""#,
        r#""a\u0000b""#,
        "\"a\0b\"",
        r#""\ud800""#,
        r#""\udfff\ud800""#,
        r#""\ud83d\ude00 \ud83d""#,
        r#""""#,
        r#""\x""#,
        r#""\u00""#,
        "\"\u{feff}\"",
        "\"\u{202e}\u{200b}\u{fffe}\"",
        "\"\n\"",
        r#""'; DROP TABLE sessions; --""#,
        r#""$1 {} %s \\ \" ""#,
        r#""a","session_id":"b""#,
        r#"{"a":1,"a":2}"#,
        r#"[1,[2,[3]]]"#,
    ];
    let depths = [
        "[".repeat(DEPTH) + &"]".repeat(DEPTH),
        r#"{"a":"#.repeat(DEPTH) + "1" + &"}".repeat(DEPTH),
        r#"[{"a":"#.repeat(DEPTH) + "1" + &"}]".repeat(DEPTH),
        "[".repeat(DEPTH),
    ];
    let long = [format!("\"{}\"", "x".repeat(1_000_000)), format!("\"{}\"", "\u{1f642}".repeat(255))];
    numbers.into_iter().chain(texts).map(str::to_owned).chain(depths).chain(long).collect()
}

/// The members where a kind takes a number or a text, and those of all kinds.
fn fields(kind: EventKind) -> [&'static str; 4] {
    let [number, text] = match kind {
        EventKind::Started => ["git_branch", "working_directory"],
        EventKind::Ended => ["duration_seconds", "tools_used_count"],
        EventKind::Prompt => ["prompt_length", "prompt_preview"],
        EventKind::Tool => ["duration_ms", "tool_name"],
    };
    [number, text, "session_id", "action_description"]
}

/// Values that are no event at all, or one with something before, behind or between.
fn values(kind: EventKind, session: &str) -> Vec<Vec<u8>> {
    let good = good(kind, session);
    let texts = [
        String::new(),
        " ".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\0".to_owned(),
        "{".to_owned(),
        format!("\u{feff}{good}"),
        format!("{good}x"),
        format!("{good}\0"),
        format!("{good}{good}"),
        format!("  {good}\n"),
        good.replacen('{', "{\0", 1),
        good.replacen("payload", "pay\\u0000load", 1),
        good.replacen("\"payload\":", "\"payload\":{},\"payload\":", 1),
        good.replacen("hook.", "hook\\u0000", 1),
        good.replacen(EMITTED_AT, "9999-12-31T23:59:59Z", 1),
        good.replacen(EMITTED_AT, "0000-01-01T00:00:00Z", 1),
        good.replacen(EMITTED_AT, "-9999-01-01T00:00:00Z", 1),
        good.replacen(EMITTED_AT, "2026-02-30T25:61:61Z", 1),
        "[".repeat(DEPTH) + &"]".repeat(DEPTH),
        r#"{"payload":"#.repeat(DEPTH) + "1" + &"}".repeat(DEPTH),
    ];
    let broken: [&[u8]; 5] =
        [b"\xff\xfe", b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\"\xf5\x80\x80\x80\"", b"{\"\xff\":1}"];
    let mut cut = good.clone().into_bytes();
    cut.truncate(cut.len() / 2);
    texts.into_iter().map(String::into_bytes).chain(broken.map(<[u8]>::to_vec)).chain([cut]).collect()
}

/// Keys, headers and missing values.
fn envelopes(kind: EventKind, session: &str) -> Vec<Hostile> {
    let event = || Hostile::new(kind, good(kind, session));
    let bare = || {
        let envelope: Value = serde_json::from_str(&good(kind, session)).unwrap();
        Hostile::new(kind, envelope["payload"].to_string())
    };
    let name = || Some(kind.as_str().as_bytes().to_vec());
    let hundred = || (0..100).map(|number| (format!("header-{number}").into_bytes(), Some(vec![0, 0xff, number])));
    let odd =
        || [(b"\xff\xfe".to_vec(), Some(b"\xff".to_vec())), (Vec::new(), None), (b"n".to_vec(), Some(Vec::new()))];
    let kinds = [None, Some(Vec::new()), Some(b"\xff".to_vec()), Some(b"hook\0tool".to_vec()), name()];
    let mut all: Vec<Hostile> = [None, Some(Vec::new()), Some(b"\0\0".to_vec()), Some(b"\xff".repeat(100_000))]
        .into_iter()
        .flat_map(|key| [Hostile { key: key.clone(), ..event() }, Hostile { key, ..Hostile::new(kind, "bad") }])
        .collect();
    for value in kinds {
        let kind_header = [(b"event_type".to_vec(), value)];
        all.push(Hostile { headers: headers(kind_header.clone().into_iter().chain(odd())), ..bare() });
        all.push(Hostile { headers: headers(hundred().chain(kind_header)), ..bare() });
    }
    all.push(Hostile { headers: headers(odd().into_iter().chain(hundred())), ..Hostile::new(kind, "bad") });
    all.push(Hostile { headers: headers(hundred()), value: None, ..event() });
    all.push(Hostile { value: None, key: None, ..event() });
    all
}

/// Ten million bytes, as a text, as an event, and as nothing but brackets.
fn huge(kind: EventKind) -> Vec<Vec<u8>> {
    let description = format!("\"{}\"", "x".repeat(HUGE));
    vec![vec![b'x'; HUGE], event_with(kind, "huge", "action_description", &description).into_bytes(), vec![b'['; HUGE]]
}

fn hostile(kind: EventKind) -> Vec<Hostile> {
    let mut count = 0;
    let mut session = || {
        count += 1;
        format!("hostile-{kind:?}-{count}")
    };
    let mut all = envelopes(kind, &session());
    all.extend(values(kind, &session()).into_iter().map(|value| Hostile::new(kind, value)));
    for field in fields(kind) {
        for written in written() {
            all.push(Hostile::new(kind, event_with(kind, &session(), field, &written)));
        }
    }
    all.extend(huge(kind).into_iter().map(|value| Hostile::new(kind, value)));
    all
}

/// The hostile records of all topics, with twice as many good ones in between.
fn interleaved(max_value_bytes: usize) -> Vec<Hostile> {
    let mut all: Vec<Hostile> = KINDS.into_iter().flat_map(hostile).collect();
    let shape = Shape { records: 2 * all.len() as u64, seed: 61, bad_share: 0.0, max_value_bytes, ..Shape::default() };
    all.extend(Generator::new(shape).map(Hostile::from));
    fastrand::Rng::with_seed(61).shuffle(&mut all);
    all
}

/// Names of headers needn't be UTF-8, though the crate takes nothing else.
fn outgoing(headers: &[Header]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new(), |outgoing, Header { key, value }| {
        // SAFETY: nothing but the bytes and their number is handed on to librdkafka.
        let key = unsafe { std::str::from_utf8_unchecked(key) };
        outgoing.insert(OutgoingHeader { key, value: value.as_deref() })
    })
}

fn send(deployment: &Deployment, records: &[Hostile]) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", deployment.config().kafka.brokers).set("message.max.bytes", "16000000");
    let producer: BaseProducer = settings.create().unwrap();
    for Hostile { kind, key, value, headers, timestamp_millis } in records {
        let mut record = BaseRecord::<[u8], [u8]>::to(deployment.topic(*kind)).timestamp(*timestamp_millis);
        record.key = key.as_deref();
        record.payload = value.as_deref();
        producer.send(record.headers(outgoing(headers))).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// A dead letter as it was sent: topic, key, value, headers.
type Letter = (String, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn letter(deployment: &Deployment, sent: &Hostile) -> Letter {
    let Hostile { kind, key, value, headers, .. } = sent;
    let headers = headers.iter().map(|header| (header.key.to_vec(), header.value.as_deref().map(<[u8]>::to_vec)));
    (deployment.topic(*kind).to_owned(), key.clone(), value.clone(), headers.collect())
}

fn header_of(kept: &Value) -> (Vec<u8>, Option<Vec<u8>>) {
    let part = |name: &str| match (&kept[name], &kept[format!("{name}_base64")]) {
        (Value::String(text), _) => Some(text.clone().into_bytes()),
        (_, Value::String(encoded)) => Some(BASE64.decode(encoded).unwrap()),
        _ => None,
    };
    (part("key").unwrap(), part("value"))
}

async fn kept_letters(deployment: &Deployment) -> Vec<Letter> {
    type Row = (String, Option<Vec<u8>>, Option<Vec<u8>>, Value);
    let mut connection = deployment.connect().await;
    let rows: Vec<Row> =
        sqlx::query_as("SELECT topic, key, value, headers FROM dead_letters").fetch_all(&mut connection).await.unwrap();
    let headers = |kept: Value| kept.as_array().unwrap().iter().map(header_of).collect();
    rows.into_iter().map(|(topic, key, value, kept)| (topic, key, value, headers(kept))).collect()
}

/// Each record is an event or a dead letter, and the instance lives on, in bounded memory.
async fn every_record_has_its_place(max_value_bytes: usize) {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_EVENTS__MAX_VALUE_BYTES", &max_value_bytes.to_string());
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "1h");
    let sent = interleaved(max_value_bytes);
    send(&deployment, &sent);
    let mut connection = deployment.connect().await;
    let mut instance = Instance::start(&deployment, &["run"]);
    until_committed(&mut connection, sent.len()).await;
    let memory = instance.peak_memory();
    instance.stop().await;

    let seen: Vec<GeneratedRecord> = sent.iter().map(Hostile::for_the_model).collect();
    assert_tables_equal(&deployment, &Expected::within(max_value_bytes, &seen)).await;
    let is_dead = |record| !Expected::within(max_value_bytes, [record]).dead_letters.is_empty();
    let dead = sent.iter().zip(&seen).filter(|(_, seen)| is_dead(seen)).map(|(sent, _)| letter(&deployment, sent));
    let (mut dead, mut kept): (Vec<_>, _) = (dead.collect(), kept_letters(&deployment).await);
    dead.sort();
    kept.sort();
    assert!(dead == kept, "dead letters are kept byte for byte");
    assert!(dead.len() < sent.len() / 3, "the good ones in between are events");
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    println!(
        "{} hostile records with values up to {max_value_bytes}, of {}: {} dead letters, at most {} MB of memory",
        sent.len() / 3,
        sent.len(),
        dead.len(),
        memory >> 20
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_records_become_dead_letters_or_events_and_stop_nothing() {
    every_record_has_its_place(DEFAULT_MAX_VALUE_BYTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_records_that_are_mostly_too_large_do_so_too() {
    every_record_has_its_place(MAX_VALUE_BYTES).await;
}
