//! A client over HTTP that sends what a test says, and nothing else.

use serde_json::{Value, json};

use crate::http::client::{Answer, Client};

/// Asks one instance.
pub struct Agent<'c>(pub &'c Client);

impl Agent<'_> {
    /// One request, with these lines in its head.
    pub async fn post(&self, method: &str, params: Value, lines: &str) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        self.post_body(&body, lines).await
    }

    pub async fn post_body(&self, body: &str, lines: &str) -> Answer {
        let Client { address, token } = self.0;
        let host = if lines.contains("Host: ") { String::new() } else { format!("Host: {address}\r\n") };
        let token = token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "POST /mcp HTTP/1.1\r\n{host}{token}{lines}Content-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n"
        );
        self.0.send_with(&head, body).await
    }

    /// What a request came to.
    pub async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.post(method, params, "").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
        answer.json()
    }

    /// What a call came to.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        let mut result = self.result("tools/call", json!({"name": tool, "arguments": arguments})).await;
        assert!(result["result"].is_object(), "{tool}: {result}");
        result["result"].take()
    }

    /// The answer of a call, which says the same twice.
    pub async fn answer(&self, tool: &str, arguments: Value) -> Value {
        let mut result = self.call(tool, arguments.clone()).await;
        assert_eq!(result["isError"], false, "{tool} {arguments}: {result}");
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"]);
        result["structuredContent"].take()
    }

    /// Why a call has no answer.
    pub async fn refusal(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments.clone()).await;
        assert_eq!(result["isError"], true, "{tool} {arguments}: {result}");
        assert_eq!(result.get("structuredContent"), None);
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// The rows of all pages, under this name.
    pub async fn all_pages(&self, tool: &str, mut arguments: Value, rows: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let mut page = self.answer(tool, arguments.clone()).await;
            all.append(page[rows].as_array_mut().unwrap());
            match page["next"].take() {
                Value::Null => return all,
                next => arguments["after"] = next,
            }
        }
    }
}
