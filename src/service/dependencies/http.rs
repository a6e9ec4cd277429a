//! Asks an HTTP endpoint, over a connection of its own for each question. What it answers isn't read.

use hyper::{HeaderMap, Method, StatusCode, body::Bytes};

use crate::service::http_client::{Address, Client};

use super::snapshot::{Answer, Counted, Fault};

/// Connected if it answers to GET with a status below 400.
pub(super) async fn ask(address: &Address) -> Answer {
    let client = Client::new(address).await?;
    let response = client.send(Method::GET, HeaderMap::new(), Bytes::new()).await?;
    accepted(response.status()).map(|()| Counted::default())
}

/// Whether a status is one of success. A redirect is an answer, and isn't followed.
pub(super) fn accepted(status: StatusCode) -> Result<(), Fault> {
    match status.as_u16() {
        ..400 => Ok(()),
        status => Err(Fault::new(format!("it answers with status {status}"))),
    }
}
