//! `[mcp]`: what agents may ask.

use std::{net::Ipv6Addr, num::NonZeroU32, time::Duration};

use super::{
    error::{ConfigError, Refusal, quoted},
    settings::Settings,
};

/// `[mcp]`: what agents may ask, and how much at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpConfig {
    /// 1 to 100.
    pub max_tools: NonZeroU32,
    /// Of one call, with the wait for its turn; 100ms to five minutes.
    pub timeout: Duration,
    /// Worked on at a time, 1 to 32.
    pub max_calls: NonZeroU32,
    /// Names without a port, beside `localhost` and addresses.
    pub allowed_hosts: Vec<String>,
    /// Each a scheme, a host and a port.
    pub allowed_origins: Vec<String>,
}

impl McpConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            max_tools: settings.count("mcp.max_tools", 1..=100)?,
            timeout: settings.duration("mcp.timeout", Duration::from_millis(100)..=Duration::from_secs(300))?,
            max_calls: settings.count("mcp.max_calls", 1..=32)?,
            allowed_hosts: settings.list("mcp.allowed_hosts", |hosts| all(hosts, is_host, HOST))?,
            allowed_origins: settings.list("mcp.allowed_origins", |origins| all(origins, is_origin, ORIGIN))?,
        })
    }
}

const HOST: &str = "allowed: names of hosts without a port, like \"sessions.example.com\"";
const ORIGIN: &str = "allowed: origins with their port, like \"https://app.example.com:443\", or \"null\"";

fn all(items: Vec<String>, is_good: fn(&str) -> bool, allowed: &'static str) -> Result<Vec<String>, Refusal> {
    match items.iter().find(|item| !is_good(item)) {
        None => Ok(items),
        Some(bad) => Err(Refusal::new(format!("{} is of another form", quoted(bad)), allowed)),
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// The port is written out: an origin without one would be taken for any port.
fn is_origin(text: &str) -> bool {
    let is_good = |scheme: &str, host: &str, port: &str| {
        let is_known = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']').is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()),
            None => is_host(host),
        };
        is_known && ["http", "https"].contains(&scheme) && (port == "*" || port.parse::<u16>().is_ok())
    };
    let split = text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
    text == "null" || split.is_some_and(|(scheme, (host, port))| is_good(scheme, host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_port_and_an_origin_has_one() {
        for (text, host, origin) in [
            ("sessions.example.com", true, false),
            ("sessions.example.com:443", false, false),
            ("https://app.example.com", false, false),
            ("https://app.example.com:443", false, true),
            ("http://localhost:*", false, true),
            ("http://[::1]:8080", false, true),
            ("http://::1:8080", false, false),
            ("https://app.example.com:443/", false, false),
            ("ftp://app.example.com:21", false, false),
            ("*", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_host(text), is_origin(text)), (host, origin), "{text}");
        }
    }
}
