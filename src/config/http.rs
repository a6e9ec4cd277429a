//! `[http]`: where others may ask, and who.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    time::Duration,
};

use super::{
    error::{ConfigError, Refusal, quoted},
    secret::Secret,
    settings::Settings,
};

/// A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// `[http]`: what others may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// `None` is off. Where others than this machine reach it, there is a token.
    pub listen: Option<SocketAddr>,
    /// What a request has to bring along, where it is to bring anything.
    pub token: Option<Secret>,
    /// Worked on at a time, 1 to 1000.
    pub max_requests: NonZeroUsize,
    /// 100ms to a minute.
    pub timeout: Duration,
}

impl HttpConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        let token = settings.secret("http.token", token)?;
        Ok(Self {
            listen: settings.text("http.listen", |text| listen(&text, token.is_some()))?,
            token,
            max_requests: settings.count("http.max_requests", 1..=1_000)?,
            timeout: settings.duration("http.timeout", Duration::from_millis(100)..=Duration::from_secs(60))?,
        })
    }
}

fn listen(text: &str, has_token: bool) -> Result<Option<SocketAddr>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    // A port alone is one of this machine's own address.
    let port = text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let address = port.or_else(|_| text.parse()).map_err(|_| {
        Refusal::new(
            format!("{} is not a socket address", quoted(text)),
            "allowed: an IP address and a port, like \"127.0.0.1:8080\", a port of 127.0.0.1, or \"\" for off",
        )
    })?;
    if address.ip().is_loopback() || has_token {
        return Ok(Some(address));
    }
    Err(Refusal::new(
        format!("{} can be reached from elsewhere, and http.token is empty", quoted(text)),
        "allowed: an address of this machine alone, like \"127.0.0.1:8080\"; any other with http.token or \
         http.token_file",
    ))
}

/// The characters that RFC 6750 has for bearer tokens.
fn token(secret: Secret) -> Result<Option<Secret>, Refusal> {
    let text = secret.expose();
    if text.is_empty() {
        return Ok(None);
    }
    let allowed = "allowed: 16 or more letters, digits and -._~+/=, such as `openssl rand -hex 32` prints";
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)) {
        return Err(Refusal::new("has a character that no bearer token has", allowed));
    }
    if text.len() < SHORTEST_TOKEN {
        return Err(Refusal::new("is too short", allowed));
    }
    Ok(Some(secret))
}
