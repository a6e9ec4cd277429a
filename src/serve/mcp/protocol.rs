//! The protocol's server: tools are listed, and called by their names.

use std::{sync::Arc, time::Instant};

use axum::http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
        ListToolsResult, MetaObject, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::{NotificationContext, RequestContext},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Mcp,
    answer::Answer,
    failure::{CallFailure, Outcome},
};

/// By what a client names its call, in `_meta` or as a header; a UUID.
const CORRELATION: &str = "correlation_id";
const CORRELATION_HEADER: &str = "x-correlation-id";

const INSTRUCTIONS: &str = "Sessions of coding agents, as sessionfold keeps them: who worked where, what was asked, which \
    tools ran and which failed. Everything only reads. Each answer has `freshness`, which says how far the data may be \
    behind. Begin with find_sessions; follow `next` for more.";

/// Answers one client, or one request over HTTP.
#[derive(Clone, Debug)]
pub(super) struct Server(pub(super) Arc<Mcp>);

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("sessionfold", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    /// All on one page.
    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools().cloned().collect()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.0.tool(&request.name) else {
            return Err(ErrorData::invalid_params("no such tool is offered; tools/list has those that are", None));
        };
        let (begun, correlation_id) = (Instant::now(), correlation_id(&context));
        let result = tokio::select! {
            result = self.0.ask(tool, request.arguments) => result,
            () = context.ct.cancelled() => Err(CallFailure::Cancelled),
        };
        let outcome = result.as_ref().map_or_else(CallFailure::outcome, |_| Outcome::Answered);
        self.0.calls.add(tool.as_str(), outcome, begun.elapsed());
        tracing::info!(
            tool = tool.as_str(),
            %correlation_id,
            outcome = outcome.as_str(),
            seconds = begun.elapsed().as_secs_f64(),
            "an agent asked"
        );
        Ok(told(result, correlation_id).into())
    }

    async fn on_initialized(&self, _: NotificationContext<RoleServer>) {}
}

/// The answer as structured content and as text, or words about why there is none.
fn told(result: Result<Answer, CallFailure>, correlation_id: Uuid) -> CallToolResult {
    let meta = JsonObject::from_iter([(CORRELATION.to_owned(), json!(correlation_id))]);
    let result = match result {
        Ok(answer) => {
            let mut members = answer.into_map();
            members.insert(CORRELATION.to_owned(), json!(correlation_id));
            CallToolResult::structured(Value::Object(members))
        }
        Err(failure) => {
            CallToolResult::error(vec![ContentBlock::text(format!("{failure} ({CORRELATION} {correlation_id})"))])
        }
    };
    result.with_meta(Some(MetaObject::from(meta)))
}

/// What the client calls its call, where that is a UUID; otherwise a new one.
fn correlation_id(context: &RequestContext<RoleServer>) -> Uuid {
    let header = || context.extensions.get::<Parts>()?.headers.get(CORRELATION_HEADER)?.to_str().ok();
    chosen(context.meta.get(CORRELATION).and_then(Value::as_str), header())
}

fn chosen(in_meta: Option<&str>, in_header: Option<&str>) -> Uuid {
    let given = in_meta.into_iter().chain(in_header).find_map(|text| Uuid::try_parse(text).ok());
    given.unwrap_or_else(Uuid::now_v7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_id_that_its_client_gave_and_else_a_new_one() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (in_meta, in_header) = (one.to_string(), other.to_string());
        assert_eq!(chosen(Some(&in_meta), Some(&in_header)), one);
        assert_eq!(chosen(None, Some(&in_header)), other);
        assert_eq!(chosen(Some("mine"), Some(&in_header)), other);
        let made = chosen(Some("mine"), Some("a\nb"));
        assert_eq!(made.get_version_num(), 7);
    }

    #[test]
    fn a_failure_is_told_as_an_error_with_its_id() {
        let id = Uuid::from_u128(7);
        let result = json!(told(Err(CallFailure::Unknown), id));
        assert_eq!(result["isError"], true);
        assert!(result["content"][0]["text"].as_str().unwrap().contains(&id.to_string()));
        assert_eq!(result["_meta"]["correlation_id"], json!(id));
    }
}
