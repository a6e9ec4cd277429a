//! What the program answers over HTTP.

mod api;
pub mod client;
mod dependencies;
mod echo;
mod endpoint;
pub mod exposition;
mod metrics;
mod parts;
mod probes;
mod schema;

use crate::{
    deployment::Deployment,
    faults_of_setup::assert_refused,
    program::{Instance, run},
};

use client::Client;

pub const LISTEN: &str = "SESSIONFOLD_HTTP__LISTEN";
pub const TOKEN: &str = "SESSIONFOLD_HTTP__TOKEN";

/// An instance that listens and is ready.
pub async fn ready(deployment: &mut Deployment) -> (Instance, Client) {
    deployment.set(LISTEN, "127.0.0.1:0");
    let instance = Instance::start(deployment, &["run"]);
    let client = Client::of(&instance).await;
    client.until_ready().await;
    (instance, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_needed_for_everything_but_the_probes() {
    let mut deployment = Deployment::new(1).await;
    deployment.set(TOKEN, "0123456789abcdef");
    let (mut instance, mut client) = ready(&mut deployment).await;
    assert_eq!((client.status("/livez").await, client.status("/readyz").await), (200, 200));
    let guarded = ["/healthz", "/metrics", "/api/v1/sessions", "/api/v1/sessions/a", "/api/v1/openapi.json", "/none"];
    for path in guarded {
        let refused = client.get(path).await;
        assert!(refused.problem(401, path).contains("http.token"));
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    client.token = Some("0123456789abcdeF".to_owned());
    assert_eq!(client.status("/metrics").await, 401);
    client.token = Some("0123456789abcdef".to_owned());
    for (path, status) in guarded.into_iter().zip([200, 200, 200, 404, 200, 404]) {
        assert_eq!(client.status(path).await, status, "{path}");
    }
    instance.stop().await;
    assert!(!instance.log().contains("0123456789abcde"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_name_that_leads_here_is_refused() {
    let (_instance, client) = ready(&mut Deployment::new(1).await).await;
    let named = client.send("GET /api/v1/sessions HTTP/1.1\r\nHost: evil.example\r\n").await;
    named.problem(403, "/api/v1/sessions");
    let probe = client.send("GET /livez HTTP/1.1\r\nHost: evil.example\r\n").await;
    assert_eq!(probe.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_needs_a_token_and_one_that_is_taken_ends_the_start() {
    let mut deployment = Deployment::new(1).await;
    deployment.set(LISTEN, "0.0.0.0:0");
    assert_refused(&run(&deployment, &["run", "--drain"]), 2, &["http.listen", "http.token_file"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    deployment.set(LISTEN, &address);
    assert_refused(&run(&deployment, &["run", "--drain"]), 1, &["http.listen", &address, "in use"]);
}
