//! `[traces]`: what is sent to a collector of traces, and by what it knows us.

use std::{num::NonZeroUsize, time::Duration};

use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, TRANSFER_ENCODING, USER_AGENT,
};
use percent_encoding::percent_decode_str;

use super::{
    endpoint_url::EndpointUrl,
    error::{ConfigError, Refusal, quoted},
    secret::Secret,
    settings::Settings,
};

/// Headers on which the request itself rests.
const OWN: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT];

/// `[traces]`: what is sent to a collector.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The whole URL, with a path. None is off.
    pub endpoint: Option<EndpointUrl>,
    /// What is sent along, the authorization included. No name twice.
    pub headers: Vec<CollectorHeader>,
    /// Of the correlation ids.
    pub sample: Share,
    /// Spans, 1 to a million.
    pub max_waiting: NonZeroUsize,
    /// 100ms to a minute.
    pub timeout: Duration,
    /// 1 to 255 characters.
    pub service_name: String,
}

/// A header by which a collector knows us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorHeader {
    pub name: HeaderName,
    /// As it is sent: visible ASCII characters and spaces.
    pub value: Secret,
    /// Other forms of it, or of a part of it, that must not be passed on either.
    forms: Vec<Secret>,
}

impl CollectorHeader {
    pub(super) fn secrets(&self) -> impl Iterator<Item = Secret> {
        self.forms.iter().chain([&self.value]).cloned()
    }
}

/// A share of something, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// None outside of 0 to 1.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl TracesConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        let endpoint = settings.secret("traces.endpoint", endpoint)?;
        let basic = endpoint.as_ref().and_then(EndpointUrl::basic).map(|pair| authorization("Basic", pair));
        let token = settings.secret("traces.token", |token| bearer(token, basic.is_some()))?;
        let authorization = basic.or(token);
        Ok(Self {
            headers: settings.secret("traces.headers", |headers| all_headers(&headers, authorization))?,
            endpoint,
            sample: settings.number("traces.sample", share)?,
            max_waiting: settings.count("traces.max_waiting", 1..=1_000_000)?,
            timeout: settings.duration("traces.timeout", Duration::from_millis(100)..=Duration::from_secs(60))?,
            service_name: settings.text("traces.service_name", service_name)?,
        })
    }

    /// Whether what the collector knows us by goes over a network as anybody there can read it.
    pub fn shows_secrets(&self) -> bool {
        let is_here = |host: &str| {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        let target = self.endpoint.as_ref().map(EndpointUrl::target);
        let goes_out =
            target.is_some_and(|target| target.scheme_str() == Some("http") && !target.host().is_some_and(is_here));
        let has_query = target.is_some_and(|target| target.query().is_some());
        goes_out && (has_query || !self.headers.is_empty())
    }
}

fn endpoint(url: Secret) -> Result<Option<EndpointUrl>, Refusal> {
    if url.expose().is_empty() {
        return Ok(None);
    }
    let url = EndpointUrl::try_from(url)?;
    if url.target().path() == "/" {
        // What other programs call the endpoint is the URL without the path, so that this is an easy mistake.
        let allowed = "allowed: the whole URL, like http://host:4318/v1/traces";
        return Err(Refusal::new("has no path", allowed));
    }
    Ok(Some(url))
}

fn authorization(scheme: &str, secret: Secret) -> CollectorHeader {
    let value = Secret::from(format!("{scheme} {}", secret.expose()));
    CollectorHeader { name: AUTHORIZATION, value, forms: vec![secret] }
}

fn bearer(token: Secret, has_basic: bool) -> Result<Option<CollectorHeader>, Refusal> {
    if token.expose().is_empty() {
        return Ok(None);
    }
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::new("has a character that no bearer token has", "allowed: visible ASCII characters"));
    }
    if has_basic {
        return Err(Refusal::new("is set, and traces.endpoint has a user too", "allowed: one of them"));
    }
    Ok(Some(authorization("Bearer", token)))
}

/// The authorization and what the list has. A refusal quotes nothing: a token that was put here by itself is a name.
fn all_headers(list: &Secret, authorization: Option<CollectorHeader>) -> Result<Vec<CollectorHeader>, Refusal> {
    let mut headers: Vec<CollectorHeader> = authorization.into_iter().collect();
    for item in list.expose().split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let header = header(item)?;
        if headers.iter().any(|known| known.name == header.name) {
            let allowed = "allowed: each name once, and `authorization` without traces.token and a user in the URL";
            return Err(Refusal::new("names a header twice", allowed));
        }
        headers.push(header);
    }
    Ok(headers)
}

fn header(item: &str) -> Result<CollectorHeader, Refusal> {
    let allowed = "allowed: name=value, separated by commas, values percent-encoded, such as x-key=0123%2C4567";
    let (name, written) = item.split_once('=').ok_or_else(|| Refusal::new("has an item without a =", allowed))?;
    let name: HeaderName =
        name.trim().parse().map_err(|_| Refusal::new("has an item whose name is not the name of a header", allowed))?;
    if OWN.contains(&name) {
        return Err(Refusal::new(format!("has the header {name}, which the program sets"), "allowed: any other"));
    }
    let meant = percent_decode_str(written.trim()).decode_utf8();
    let is_value = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let value = meant.ok().filter(|text| is_value(text)).map(std::borrow::Cow::into_owned);
    let value = value.ok_or_else(|| Refusal::new("has an item whose value no header can have", allowed))?;
    let mut forms = vec![Secret::from(written.trim().to_owned())];
    // A scheme, as of an authorization, is no part of the secret.
    forms.extend(value.rsplit_once(' ').map(|(_, secret)| Secret::from(secret.to_owned())));
    Ok(CollectorHeader { name, value: Secret::from(value), forms })
}

fn share(share: f64) -> Result<Share, Refusal> {
    Share::new(share).ok_or_else(|| Refusal::new(format!("{share} is out of range"), "allowed: 0 to 1"))
}

fn service_name(name: String) -> Result<String, Refusal> {
    let length = name.chars().count();
    if (1..=255).contains(&length) && !name.chars().any(char::is_control) && !name.trim().is_empty() {
        return Ok(name);
    }
    Err(Refusal::new(format!("{} is no name of a service", quoted(&name)), "allowed: 1 to 255 visible characters"))
}
