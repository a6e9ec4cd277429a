//! How much is worked on at a time, and for how long.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use crate::config::HttpConfig;

use super::problem::Problem;

/// `http.max_requests` and `http.timeout`.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    room: Arc<Semaphore>,
    timeout: Duration,
}

impl Limits {
    pub(super) fn new(config: &HttpConfig) -> Self {
        Self::with_timeout(config, config.timeout)
    }

    /// As many requests of their own, each of which may take so long.
    pub(super) fn with_timeout(config: &HttpConfig, timeout: Duration) -> Self {
        Self { room: Arc::new(Semaphore::new(config.max_requests.get())), timeout }
    }
}

/// Tells those to come back for whom there is no room, or whose answer takes too long.
pub(super) async fn within(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let Ok(_place) = limits.room.try_acquire() else {
        return Problem::unavailable("too many requests are being worked on", None).into_response();
    };
    match tokio::time::timeout(limits.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::too_slow().into_response(),
    }
}
