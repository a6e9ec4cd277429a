//! What went wrong, as RFC 9457 has it: `application/problem+json`.

use std::time::Duration;

use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::store::{Failure, StoreError};

/// An answer that tells what went wrong. It never quotes what an error of Postgres says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Body<'p> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'p str,
    /// The path that was asked for.
    instance: &'p str,
}

/// How long to stay away where nothing else is known.
const A_WHILE: Duration = Duration::from_secs(1);

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "the token of http.token is needed, as `Authorization: Bearer …`")
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn unavailable(detail: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let retry_after = Some(retry_after.unwrap_or(A_WHILE));
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    pub(super) fn too_slow() -> Self {
        Self::unavailable("it took longer than http.timeout: ask for less, or later", None)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error.failure {
            _ if error.is_statement_timeout() => Self::too_slow(),
            Failure::Contention | Failure::Unavailable | Failure::InDoubt => {
                Self::unavailable("Postgres can't be asked now", error.retry_after)
            }
            Failure::Data | Failure::Setup => {
                tracing::warn!(%error, "a request could not be answered");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Postgres refuses; the log says why")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a problem, which says what path was asked for, and what holds for all answers.
pub(super) async fn locate(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allowed = response.headers_mut().remove(header::ALLOW);
        response = problem.at(&path);
        allowed.map(|allowed| response.headers_mut().insert(header::ALLOW, allowed));
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Problem {
    fn at(&self, path: &str) -> Response {
        let Self { status, detail, retry_after } = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let body = Body { r#type: "about:blank", title, status: status.as_u16(), detail, instance: path };
        let mut response = (*status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = retry_after {
            headers.insert(
                header::RETRY_AFTER,
                after.as_millis().div_ceil(1_000).max(1).to_string().parse().unwrap_or(HeaderValue::from_static("1")),
            );
        }
        if *status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) async fn no_such_path() -> Problem {
    Problem::not_found("there is no such path; /api/v1/openapi.json lists those of the API")
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path is only read: GET or HEAD")
}
