//! `/api/v1/sessions`: what `sessionfold sessions list`, `show` and `timeline` print as JSON.

use std::sync::Arc;

use axum::{
    Json,
    extract::{OriginalUri, Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Uri, header},
};
use serde_json::{Value, json};

use crate::{
    event::{EventTime, SessionId},
    fold::Status,
    store::{
        Direction, PageSize, SessionCursor, SessionDetail, SessionFilter, SessionOrder, SessionSort, Store,
        TimelineCursor,
    },
};

use super::{
    Observed,
    parameters::{Parameters, invalid, one_of},
    problem::Problem,
};

/// How many rows a page has where nobody says.
const SESSIONS: u16 = 50;
const ENTRIES: u16 = 200;

type Page = (HeaderMap, Json<Value>);

pub(super) async fn list(
    State(observed): State<Arc<Observed>>,
    OriginalUri(uri): OriginalUri,
    mut parameters: Parameters,
) -> Result<Page, Problem> {
    let filter = filter(&mut parameters)?;
    let by = parameters.one("sort", one_of(SessionSort::ALL, SessionSort::as_str))?.unwrap_or(SessionSort::LastEvent);
    let ascending = parameters.parsed::<bool>("ascending")?.unwrap_or(false);
    let order = SessionOrder { by, direction: if ascending { Direction::Ascending } else { Direction::Descending } };
    let size = page_size(&mut parameters, SESSIONS)?;
    let after = parameters.parsed::<SessionCursor>("after")?;
    parameters.end()?;
    if let Some(other) = after.as_ref().map(SessionCursor::order).filter(|other| *other != order) {
        let SessionOrder { by, direction } = other;
        return Err(invalid("after", format!("a position in the list by {by}, {direction}: sort by that")));
    }
    let question = async move |store: Store| store.session_page(&filter, order, after.as_ref(), size).await;
    let page = observed.reader.ask(question).await?;
    let next = page.next.map(|next| next.to_string());
    let headers = link(&uri, next.as_deref());
    Ok((headers, Json(json!({"sessions": page.sessions, "next": next}))))
}

pub(super) async fn show(
    State(observed): State<Arc<Observed>>,
    path: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Result<Json<SessionDetail>, Problem> {
    let session_id = session_id(path)?;
    parameters.end()?;
    let detail = observed.reader.ask(async move |store: Store| store.session_detail(&session_id).await).await?;
    detail.map(Json).ok_or_else(unknown)
}

pub(super) async fn timeline(
    State(observed): State<Arc<Observed>>,
    OriginalUri(uri): OriginalUri,
    path: Result<Path<String>, PathRejection>,
    mut parameters: Parameters,
) -> Result<Page, Problem> {
    let session_id = session_id(path)?;
    let size = page_size(&mut parameters, ENTRIES)?;
    let after = parameters.parsed::<TimelineCursor>("after")?;
    parameters.end()?;
    let question = async move |store: Store| store.timeline(&session_id, after, size).await;
    let timeline = observed.reader.ask(question).await?.ok_or_else(unknown)?;
    let next = timeline.next.map(|next| next.to_string());
    Ok((link(&uri, next.as_deref()), Json(timeline.to_json())))
}

fn filter(parameters: &mut Parameters) -> Result<SessionFilter, Problem> {
    let filter = SessionFilter {
        statuses: parameters.all("status", one_of(Status::ALL, Status::as_str))?,
        working_directory: parameters.text("directory")?,
        under_directory: parameters.text("under")?,
        git_branch: parameters.text("branch")?,
        from: parameters.one("from", EventTime::parse)?,
        to: parameters.one("to", EventTime::parse)?,
        tool: parameters.text("tool")?,
    };
    if filter.working_directory.is_some() && filter.under_directory.is_some() {
        return Err(invalid("under", "not together with \"directory\""));
    }
    Ok(filter)
}

fn page_size(parameters: &mut Parameters, default: u16) -> Result<PageSize, Problem> {
    let parse = |text: &str| {
        let size = text.parse().ok().and_then(PageSize::new);
        size.ok_or_else(|| format!("allowed: 1 to {}", PageSize::MAX))
    };
    let size = parameters.one("limit", parse)?;
    size.or_else(|| PageSize::new(default)).ok_or_else(|| invalid("limit", "missing"))
}

fn session_id(path: Result<Path<String>, PathRejection>) -> Result<SessionId, Problem> {
    let Path(text) = path.map_err(|_| Problem::bad_request("the session in the path is not UTF-8"))?;
    SessionId::parse(&text).map_err(|_| {
        Problem::bad_request(
            "the session in the path has not 1 to 255 characters without U+0000, as every session's id",
        )
    })
}

fn unknown() -> Problem {
    Problem::not_found("no such session is stored")
}

/// Where the next page is: the same question with another position.
fn link(uri: &Uri, next: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(next) = next else { return headers };
    let others = uri.query().unwrap_or_default().split('&');
    let others = others.filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("after"));
    // A position has only characters that stand for themselves in a URL.
    let query: Vec<String> = others.map(str::to_owned).chain([format!("after={next}")]).collect();
    // The query is one that was received, so a header can hold it.
    if let Ok(value) = HeaderValue::from_str(&format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))) {
        headers.insert(header::LINK, value);
    }
    headers
}
