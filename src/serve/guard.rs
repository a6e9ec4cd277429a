//! Who may ask.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::HttpConfig;

use super::problem::Problem;

/// Lets requests through that bring the token along. Where there is none, those that name this machine by an address: a
/// page in a browser can make its own name lead here, but not change the name that the browser tells.
#[derive(Debug)]
pub(super) struct Guard {
    /// Of the token: digests are of one length, whatever the length of what they are of.
    digest: Option<[u8; 32]>,
}

impl Guard {
    pub(super) fn new(config: &HttpConfig) -> Self {
        Self { digest: config.token.as_ref().map(|token| Sha256::digest(token.expose()).into()) }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match &self.digest {
            Some(digest) => {
                let brought: [u8; 32] = Sha256::digest(bearer(headers).unwrap_or_default()).into();
                if bool::from(digest.ct_eq(&brought)) { Ok(()) } else { Err(Problem::unauthorized()) }
            }
            None if names_an_address(headers) => Ok(()),
            None => Err(Problem::forbidden(
                "without a token, the host in the URL must be an address or localhost, and not a name",
            )),
        }
    }
}

pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.admit(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The token of `Authorization: Bearer …`; the scheme's name may be in any case.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

pub(super) fn names_an_address(headers: &HeaderMap) -> bool {
    host(headers).is_some_and(|name| name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

/// The host that the client has in its URL, without a port.
pub(super) fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => host.split(':').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(token: &str) -> Guard {
        Guard { digest: Some(Sha256::digest(token).into()) }
    }

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn only_the_whole_token_is_let_through() {
        let guard = guard("0123456789abcdef");
        let admitted = |value: &str| guard.admit(&with(header::AUTHORIZATION, value)).is_ok();
        assert!(admitted("Bearer 0123456789abcdef") && admitted("bearer 0123456789abcdef"));
        for value in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Bearer ", "Basic 0123456789abcdef", "Bearer", ""]
        {
            assert!(!admitted(value), "{value}");
        }
        assert!(guard.admit(&HeaderMap::new()).is_err());
    }

    #[test]
    fn without_a_token_the_host_must_not_be_a_name() {
        let guard = Guard { digest: None };
        let admitted = |host: &str| guard.admit(&with(header::HOST, host)).is_ok();
        for host in ["127.0.0.1:8080", "127.0.0.1", "localhost:8080", "[::1]:8080"] {
            assert!(admitted(host), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", "[evil.example]"] {
            assert!(!admitted(host), "{host}");
        }
    }
}
