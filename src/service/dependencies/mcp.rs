//! Asks an endpoint of the Model Context Protocol, by streamable HTTP, as a client that wants to know its tools.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Response,
    body::{Bytes, Incoming},
    header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use crate::service::http_client::{Address, Client, MOST_BYTES, in_words, read};

use super::{
    event_stream::EventStream,
    http::accepted,
    snapshot::{Answer, Counted, Fault},
};

/// The protocol that is asked for. The endpoint may choose an older one: what is asked here is the same in all.
const PROTOCOL: &str = "2025-11-25";
const PROTOCOL_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");
const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
/// More pages of tools are no list of tools.
const MOST_PAGES: usize = 100;
/// How long an endpoint may take to end a session. Its answer is of no interest.
const GOODBYE: Duration = Duration::from_secs(1);

/// Connected if `initialize` and `tools/list` succeed; counts the tools.
pub(super) async fn ask(address: &Address) -> Answer {
    let client = Client::new(address).await?;
    let mut conversation = Conversation::begin(&client).await?;
    let tools = conversation.count_tools().await;
    conversation.end().await;
    Ok(Counted { tools_count: Some(tools?), ..Counted::default() })
}

/// After `initialize`.
struct Conversation<'c> {
    client: &'c Client<'c>,
    /// What the endpoint wants to hear again in each request.
    headers: HeaderMap,
    requests: u64,
}

impl<'c> Conversation<'c> {
    async fn begin(client: &'c Client<'c>) -> Result<Self, Fault> {
        let mut conversation = Self { client, headers: HeaderMap::new(), requests: 0 };
        let about_us = json!({"name": "sessionfold-health", "version": env!("CARGO_PKG_VERSION")});
        let wish = json!({"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": about_us});
        let (result, session) = conversation.request("initialize", wish).await?;
        let version = result.get("protocolVersion").and_then(Value::as_str);
        let version = version.and_then(|version| HeaderValue::from_str(version).ok());
        let version = version.ok_or_else(|| Fault::new("initialize: it names no version of the protocol"))?;
        conversation.headers.insert(PROTOCOL_HEADER, version);
        conversation.headers.extend(session.map(|session| (SESSION_HEADER, session)));
        let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let answer = conversation.post(&begun).await.and_then(|answer| accepted(answer.status()));
        answer.map_err(|fault| Fault::new(format!("notifications/initialized: {fault}")))?;
        Ok(conversation)
    }

    async fn count_tools(&mut self) -> Result<usize, Fault> {
        let (mut count, mut parameters) = (0, json!({}));
        for _ in 0..MOST_PAGES {
            let (page, _) = self.request("tools/list", parameters).await?;
            let tools = page.get("tools").and_then(Value::as_array);
            count += tools.ok_or_else(|| Fault::new("tools/list: it lists no tools"))?.len();
            match page.get("nextCursor") {
                None | Some(Value::Null) => return Ok(count),
                Some(cursor) => parameters = json!({"cursor": cursor}),
            }
        }
        Err(Fault::new(format!("tools/list: it has more than {MOST_PAGES} pages")))
    }

    /// Ends the session, where the endpoint keeps one.
    async fn end(self) {
        if self.headers.contains_key(SESSION_HEADER) {
            let goodbye = self.client.send(Method::DELETE, self.headers, Bytes::new());
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        }
    }

    /// The result of a request, and the session that the endpoint gave with it.
    async fn request(
        &mut self,
        method: &'static str,
        parameters: Value,
    ) -> Result<(Value, Option<HeaderValue>), Fault> {
        self.requests += 1;
        let id = self.requests;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters});
        let answer = async {
            let response = self.post(&request).await?;
            accepted(response.status())?;
            let session = response.headers().get(SESSION_HEADER).cloned();
            Ok((result(answer_to(id, response).await?)?, session))
        };
        answer.await.map_err(|fault: Fault| Fault::new(format!("{method}: {fault}")))
    }

    async fn post(&self, message: &Value) -> Result<Response<Incoming>, Fault> {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        self.client.send(Method::POST, headers, message.to_string().into()).await
    }
}

/// The message that answers this request, as one JSON text or as an event among others.
async fn answer_to(id: u64, response: Response<Incoming>) -> Result<Value, Fault> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_answer = |message: &Value| message.get("id") == Some(&id.into());
    match kind.as_str() {
        "application/json" => {
            let message = serde_json::from_slice(&read(response).await?).ok().filter(is_answer);
            message.ok_or_else(|| Fault::new("it answers something else"))
        }
        "text/event-stream" => {
            let mut stream = EventStream::default();
            let mut body = Limited::new(response.into_body(), MOST_BYTES);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| in_words(&*error))?;
                let events = frame.into_data().map(|piece| stream.push(&piece)).unwrap_or_default();
                let messages = events.iter().filter_map(|event| serde_json::from_slice(event).ok());
                if let Some(answer) = messages.into_iter().find(is_answer) {
                    return Ok(answer);
                }
            }
            Err(Fault::new("its events end without an answer"))
        }
        _ => Err(Fault::new("it answers neither JSON nor events")),
    }
}

fn result(mut message: Value) -> Result<Value, Fault> {
    if let Some(error) = message.get("error") {
        let code = error.get("code").and_then(Value::as_i64);
        return Err(Fault::new(code.map_or("it refuses".to_owned(), |code| format!("it refuses with code {code}"))));
    }
    message.get_mut("result").map(Value::take).ok_or_else(|| Fault::new("it answers without a result"))
}
