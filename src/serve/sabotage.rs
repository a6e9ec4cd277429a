//! Parts that are killed or frozen on purpose: `POST /debug/parts/NAME/kill` or `/freeze`. Only in builds with the feature
//! `sabotage`.

use axum::{Router, extract::Path, http::StatusCode, routing::post};

use crate::service::supervisor::sabotage::{Sabotage, commit};

pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/debug/parts/{name}/{what}", post(sabotage))
}

async fn sabotage(Path((name, what)): Path<(String, String)>) -> StatusCode {
    let sabotage = match what.as_str() {
        "kill" => Sabotage::Kill,
        "freeze" => Sabotage::Freeze,
        _ => return StatusCode::NOT_FOUND,
    };
    if commit(&name, sabotage) { StatusCode::ACCEPTED } else { StatusCode::NOT_FOUND }
}
