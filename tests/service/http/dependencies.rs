//! The health of what the program needs of others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;
use sessionfold::{
    devstack::{Options, Postgres},
    stream::create_topics,
};
use sqlx::{AssertSqlSafe, Executor};
use tokio_rustls::TlsAcceptor;

use crate::{
    deployment::Deployment,
    faults::security::certificates::{Authority, Folder},
    outage::watchful,
    program::{Instance, run, until},
};

use super::{
    LISTEN, TOKEN,
    client::{Client, PATIENCE},
    echo::Switch,
    endpoint::{Endpoint, Manner},
    exposition,
    probes::texts,
    ready,
};

const SECRET: &str = "hunter2hunter2hunter2";

fn tools() -> Manner {
    Manner::Tools { authorization: format!("Bearer {SECRET}"), streams: false }
}

impl Deployment {
    /// Names an endpoint in the configuration.
    fn set_endpoint(&mut self, name: &str, settings: &[(&str, &str)]) {
        for (key, value) in settings {
            let variable = format!("SESSIONFOLD_HEALTH__ENDPOINTS__{}__{key}", name.to_uppercase());
            self.set(&variable, value);
        }
    }

    fn set_schedule(&mut self, interval: &str, timeout: &str) {
        self.set("SESSIONFOLD_HEALTH__INTERVAL", interval);
        self.set("SESSIONFOLD_HEALTH__TIMEOUT", timeout);
    }
}

async fn dependency(client: &Client, name: &str) -> Value {
    let health = client.get("/healthz").await.json();
    let all = health["dependencies"].as_array().unwrap();
    all.iter().find(|dependency| dependency["name"] == name).unwrap_or_else(|| panic!("{name}: {health}")).clone()
}

async fn until_it_is(client: &Client, name: &str, status: &str) -> Value {
    let is = async || dependency(client, name).await["status"] == status;
    until(&format!("{name} is {status}"), PATIENCE, is).await;
    dependency(client, name).await
}

async fn until_it_says(client: &Client, name: &str, error: &str) {
    let says = async || dependency(client, name).await["last_error"].as_str().is_some_and(|said| said.contains(error));
    until(&format!("{name} says: {error}"), PATIENCE, says).await;
    let found = dependency(client, name).await;
    assert_eq!((&found["status"], &found["connected"]), (&"configured_but_unconnected".into(), &false.into()));
    assert!(found["last_check_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dependency_is_asked_on_its_own_whatever_becomes_of_the_others() {
    let mut deployment = Deployment::new(2).await;
    deployment.set_schedule("4s", "3s");
    let (well, moved) = (Endpoint::start(Manner::Echoes(200)).await, Endpoint::start(Manner::Echoes(302)).await);
    let (hanging, endless) = (Endpoint::start(Manner::Hangs).await, Endpoint::start(Manner::Endless).await);
    let listing = Endpoint::start(tools()).await;
    let streaming = Manner::Tools { authorization: format!("Bearer {SECRET}"), streams: true };
    let streaming = Endpoint::start(streaming).await;
    let url = |endpoint: &Endpoint| format!("http://{}/health", endpoint.address);
    deployment.set_endpoint("well", &[("KIND", "http"), ("URL", &url(&well))]);
    deployment.set_endpoint("moved", &[("KIND", "http"), ("URL", &url(&moved))]);
    deployment.set_endpoint("hanging", &[("KIND", "http"), ("URL", &url(&hanging))]);
    deployment.set_endpoint("gone", &[("KIND", "http"), ("URL", "http://127.0.0.1:1/")]);
    deployment.set_endpoint("endless", &[("KIND", "mcp"), ("URL", &url(&endless))]);
    deployment.set_endpoint("listing", &[("KIND", "mcp"), ("URL", &url(&listing)), ("TOKEN", SECRET)]);
    deployment.set_endpoint("streaming", &[("KIND", "mcp"), ("URL", &url(&streaming)), ("TOKEN", SECRET)]);
    deployment.set_endpoint("stranger", &[("KIND", "mcp"), ("URL", &url(&listing)), ("TOKEN", "another")]);
    deployment.set_endpoint("tokenless", &[("KIND", "mcp"), ("URL", &url(&listing)), ("TOKEN", "")]);
    deployment.set_endpoint("nowhere", &[("KIND", "http"), ("URL", "")]);
    let (mut instance, client) = ready(&mut deployment).await;

    let broker = until_it_is(&client, "broker", "connected").await;
    assert_eq!(
        (&broker["kind"], &broker["partitions"], &broker["last_error"]),
        (&"kafka".into(), &8.into(), &Value::Null)
    );
    let counted = async || dependency(&client, "broker").await["lag"] == 0;
    until("the lag is counted", PATIENCE, counted).await;
    assert_eq!(until_it_is(&client, "postgres", "connected").await["kind"], "postgres");
    for name in ["well", "moved"] {
        assert_eq!(until_it_is(&client, name, "connected").await["kind"], "http");
    }
    for name in ["listing", "streaming"] {
        let found = until_it_is(&client, name, "connected").await;
        assert_eq!((&found["kind"], &found["tools_count"]), (&"mcp".into(), &3.into()));
    }
    for (name, error) in [
        ("hanging", "no answer within 3s"),
        ("gone", "Connection refused"),
        ("endless", "initialize: it answers with more than 1048576 bytes"),
        ("stranger", "initialize: it answers with status 401"),
    ] {
        until_it_says(&client, name, error).await;
    }
    for name in ["tokenless", "nowhere"] {
        let found = dependency(&client, name).await;
        assert_eq!((&found["status"], &found["last_check_at"]), (&"unhealthy".into(), &Value::Null));
    }
    let session =
        ["POST initialize", "POST notifications/initialized", "POST tools/list", "POST tools/list", "DELETE /health"];
    assert_eq!(streaming.asked()[..5], session.map(str::to_owned));
    assert!(moved.asked().iter().all(|asked| asked == "GET /health"), "a redirect was followed: {:?}", moved.asked());

    // Those that answer are asked again and again, and don't flap for that.
    let enough = well.asked().len() + 4;
    let again = async || {
        assert_eq!(dependency(&client, "well").await["status"], "connected");
        well.asked().len() >= enough
    };
    until("it is asked again", PATIENCE, again).await;

    let metrics = exposition::parse(&client.get("/metrics").await.body);
    let up = |labels: &str| metrics["sessionfold_dependency_up"].samples.get(labels).copied();
    assert_eq!(up("{name=\"listing\",kind=\"mcp\"}"), Some(1.0));
    assert_eq!(up("{name=\"hanging\",kind=\"http\"}"), Some(0.0));
    assert_eq!(up("{name=\"tokenless\",kind=\"mcp\"}"), None);
    let ages = &metrics["sessionfold_dependency_last_check_age_seconds"].samples;
    assert!((0.0..=4.0).contains(&ages["{name=\"well\",kind=\"http\"}"]));
    instance.stop().await;
}

/// As a client sees them, with the token and by the real protocol.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_endpoint_for_agents_and_the_topic_of_the_outbox_are_asked_like_any_other() {
    let mut deployment = Deployment::new(1).await;
    deployment.set(TOKEN, SECRET);
    deployment.set(LISTEN, "0.0.0.0:0");
    deployment.set_schedule("4s", "3s");
    let topic = format!("{}.transitions", deployment.group_id);
    deployment.set("SESSIONFOLD_OUTBOX__TOPIC", &topic);
    create_topics(&deployment.config().kafka, &[topic], 3).await.unwrap();
    let instance = Instance::start(&deployment, &["run"]);
    let client = Client { token: Some(SECRET.to_owned()), ..Client::of(&instance).await };
    client.until_ready().await;
    let agents = until_it_is(&client, "mcp", "connected").await;
    let listed = client.get("/mcp/tools").await.json();
    let listed = listed["tools"].as_array().unwrap().len();
    assert!(listed > 0);
    assert_eq!((&agents["kind"], &agents["tools_count"]), (&"mcp".into(), &listed.into()));
    let outbox = until_it_is(&client, "outbox", "connected").await;
    assert_eq!((&outbox["kind"], &outbox["partitions"]), (&"kafka".into(), &3.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_and_recovers_is_connected_again_and_health_waits_for_none() {
    let mut deployment = Deployment::new(1).await;
    deployment.set_schedule("1s", "60s");
    let endpoint = Endpoint::start(Manner::Echoes(200)).await;
    let hanging = Endpoint::start(Manner::Hangs).await;
    deployment.set_endpoint("it", &[("KIND", "http"), ("URL", &format!("http://{}", endpoint.address))]);
    deployment.set_endpoint("hanging", &[("KIND", "mcp"), ("URL", &format!("http://{}", hanging.address))]);
    let (instance, client) = ready(&mut deployment).await;
    until_it_is(&client, "it", "connected").await;
    endpoint.turn_to(Manner::Echoes(500));
    until_it_says(&client, "it", "it answers with status 500").await;
    let asked = Instant::now();
    let waiting = dependency(&client, "hanging").await;
    assert!(asked.elapsed() < Duration::from_secs(10) && hanging.asked() == ["POST initialize"]);
    assert_eq!((&waiting["status"], &waiting["last_check_at"]), (&"configured_but_unconnected".into(), &Value::Null));
    // A snapshot grows too old, although nothing has failed since.
    endpoint.turn_to(Manner::Echoes(200));
    until_it_is(&client, "it", "connected").await;
    endpoint.turn_to(Manner::Hangs);
    let stale = async || {
        let found = dependency(&client, "it").await;
        found["status"] == "configured_but_unconnected" && found["connected"] == true
    };
    until("the snapshot is too old", PATIENCE, stale).await;
    assert_eq!(instance.said("a dependency is not connected dependency=\"it\""), 1);
    assert_eq!(instance.said("a dependency is connected again dependency=\"it\""), 1);
}

/// A server that this authority vouches for, under this name.
fn tls_of(authority: &Authority, name: &str) -> TlsAcceptor {
    let issued = authority.issue(name);
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let versions = ServerConfig::builder_with_provider(ring::default_provider().into());
    let config = versions.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_https_an_endpoint_must_have_a_certificate_that_the_system_trusts() {
    let mut deployment = Deployment::new(1).await;
    deployment.set_schedule("4s", "3s");
    let (trusted, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    // What OpenSSL reads in place of the system's roots, and so does rustls.
    deployment.set("SSL_CERT_FILE", &folder.write("roots.pem", &trusted.certificate));
    for (name, authority, host) in
        [("good", &trusted, "localhost"), ("unknown", &other, "localhost"), ("misnamed", &trusted, "elsewhere.example")]
    {
        let endpoint = Endpoint::start_with(tools(), Some(tls_of(authority, host))).await;
        let url = format!("https://localhost:{}/mcp", endpoint.address.port());
        deployment.set_endpoint(name, &[("KIND", "mcp"), ("URL", &url), ("TOKEN", SECRET)]);
    }
    let (_instance, client) = ready(&mut deployment).await;
    assert_eq!(until_it_is(&client, "good", "connected").await["tools_count"], 3);
    until_it_says(&client, "unknown", "its certificate is signed by nobody whom this system trusts").await;
    until_it_says(&client, "misnamed", "its certificate is for another name").await;
}

/// Wherever a secret may lie, and whoever echoes it: what takes Postgres's place says the password that it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn no_name_and_no_value_of_health_holds_a_secret_that_others_echo() {
    let mut postgres = Postgres::start(&Options::default()).await.unwrap();
    let mut deployment = watchful(&postgres.url()).await;
    let role = format!("CREATE ROLE operator SUPERUSER LOGIN PASSWORD '{SECRET}'");
    deployment.connect().await.execute(AssertSqlSafe(role)).await.unwrap();
    let (server, database) = deployment.url.rsplit_once('@').unwrap().1.split_once('/').unwrap();
    let switch = Switch::start(server).await;
    let url = format!("postgres://operator:{SECRET}@{}/{database}", switch.address);
    deployment.set("SESSIONFOLD_POSTGRES__URL", &url);
    deployment.set(TOKEN, SECRET);
    deployment.set(LISTEN, "127.0.0.1:0");
    deployment.set_schedule("1s", "500ms");
    let endpoint = Endpoint::start(Manner::Echoes(500)).await;
    let address = endpoint.address;
    deployment.set_endpoint("header", &[("KIND", "http"), ("URL", &format!("http://{address}")), ("TOKEN", SECRET)]);
    deployment.set_endpoint("user", &[("KIND", "mcp"), ("URL", &format!("http://u:{SECRET}@{address}/"))]);
    deployment.set_endpoint("query", &[("KIND", "mcp"), ("URL", &format!("http://{address}/?key={SECRET}"))]);
    deployment.set_endpoint("host", &[("KIND", "http"), ("URL", &format!("http://{SECRET}.invalid/{SECRET}"))]);
    let instance = Instance::start(&deployment, &["run"]);
    let client = Client { token: Some(SECRET.to_owned()), ..Client::of(&instance).await };
    client.until_ready().await;
    switch.echo();
    let failing = ["postgres", "header", "user", "query", "host"];
    for name in failing {
        until_it_is(&client, name, "configured_but_unconnected").await;
        until_it_says(&client, name, "").await;
    }
    let echoed = async || {
        let health = client.get("/healthz").await.json();
        let components = &health["components"];
        let told = |name: &str| components[name]["last_error"].as_str().is_some_and(|error| error.contains("***"));
        let errors = health["dependencies"].as_array().unwrap().iter().filter_map(|found| found["last_error"].as_str());
        told("postgres") && told("sweep") && errors.filter(|error| error.contains("***")).count() == 1
    };
    until("every question to Postgres is answered with the password, masked here", PATIENCE, echoed).await;
    let health = client.get("/healthz").await.json();
    let mut found = Vec::new();
    texts(&health, &mut found);
    assert!(found.len() > 150, "{health}");
    assert!(found.iter().all(|text| !text.contains("hunter2")), "{health}");
    for path in ["/metrics", "/readyz", "/livez"] {
        assert!(!client.get(path).await.body.contains("hunter2"), "{path}");
    }
    postgres.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_in_the_environment_that_cannot_be_used_is_a_warning_and_in_a_flag_an_error() {
    let mut deployment = Deployment::new(1).await;
    deployment.set_schedule("0s", "often");
    let (instance, _client) = ready(&mut deployment).await;
    for variable in ["SESSIONFOLD_HEALTH__INTERVAL", "SESSIONFOLD_HEALTH__TIMEOUT"] {
        assert_eq!(instance.said(&format!("(from environment variable {variable}); passed over")), 1);
    }
    let shown = run(&deployment, &["config"]);
    let (out, err) = (String::from_utf8(shown.stdout).unwrap(), String::from_utf8(shown.stderr).unwrap());
    assert!(out.contains("interval = \"300s\"\n") && out.contains("timeout = \"30s\"\n"), "{out}");
    assert!(err.starts_with("sessionfold: health.interval: \"0s\" is out of range; allowed: 100ms to 24h"), "{err}");
    let checked = run(&deployment, &["check"]);
    let out = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && out.contains("warn   configuration  health.timeout: \"often\""), "{out}");
    let refused = run(&deployment, &["check", "--set", "health.interval=0s"]);
    assert_eq!(refused.status.code(), Some(2));
}

/// Nothing that it has to do would ask Postgres again for long.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_instance_whose_breaker_opened_is_ready_again_once_postgres_answers() {
    let mut postgres = Postgres::start(&Options::default()).await.unwrap();
    let mut deployment = watchful(&postgres.url()).await;
    for (name, value) in [
        ("SESSIONFOLD_BREAKER__FAILURE_THRESHOLD", "1"),
        ("SESSIONFOLD_BREAKER__HALF_OPEN_SUCCESSES", "1"),
        ("SESSIONFOLD_SWEEP__INTERVAL", "15s"),
    ] {
        deployment.set(name, value);
    }
    let (_instance, client) = ready(&mut deployment).await;
    let swept = async || client.get("/healthz").await.json()["components"]["sweep"]["last_check_at"].is_string();
    until("a round of the sweep has ended", PATIENCE, swept).await;
    // What still begins asks Postgres, too.
    let idle = async || {
        let consumer = client.get("/healthz").await.json()["components"]["consumer"].clone();
        let partitions = consumer["partitions"].as_array().unwrap().clone();
        !partitions.is_empty() && partitions.iter().all(|partition| partition["lag"] == 0)
    };
    until("each partition was read to its end", PATIENCE, idle).await;
    postgres.crash().await;
    let open = async || client.reasons("/readyz").await.contains("the circuit breaker is open");
    until("the next round opens the breaker", PATIENCE, open).await;
    let opened = Instant::now();
    postgres.start_again(&[]).await.unwrap();
    client.until_ready().await;
    let breaker = client.get("/healthz").await.json()["components"]["breaker"].clone();
    assert!(opened.elapsed() < Duration::from_secs(12), "a sweep may have asked: this says nothing");
    assert_eq!(breaker["state"], "half_open", "{breaker}");
}
