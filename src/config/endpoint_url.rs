//! Where an endpoint is.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::Uri;
use percent_encoding::percent_decode_str;

use super::{
    error::Refusal,
    secret::{MASK, Secret},
};

/// The URL of an endpoint, with http or https. What stands before the host or behind the `?` may be a secret: it prints
/// masked.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    url: Secret,
    target: Uri,
    user: Option<Secret>,
}

impl EndpointUrl {
    /// What to ask for, without user and password. Its query may be a secret.
    pub fn target(&self) -> &Uri {
        &self.target
    }

    /// User and password of the URL as HTTP's Basic scheme sends them.
    pub fn basic(&self) -> Option<Secret> {
        let (user, password) = self.user_and_password()?;
        let mut pair = decoded(user);
        pair.push(b':');
        pair.extend(decoded(password));
        Some(Secret::from(BASE64_STANDARD.encode(pair)))
    }

    /// All that must not be passed on, as it is written and as it is meant.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let mut found: Vec<&str> = Vec::new();
        match self.user_and_password() {
            // A user alone is a token.
            Some((user, "")) => found.push(user),
            Some((_, password)) => found.push(password),
            None => {}
        }
        if let Some(query) = self.target.query() {
            let values = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
            found.extend(values.chain([query]));
        }
        let meant = found.iter().map(|text| String::from_utf8_lossy(&decoded(text)).into_owned());
        let written = found.iter().map(|text| (*text).to_owned());
        written.chain(meant).map(Secret::from).chain(self.basic()).collect()
    }

    fn user_and_password(&self) -> Option<(&str, &str)> {
        let user = self.user.as_ref()?.expose();
        Some(user.split_once(':').unwrap_or((user, "")))
    }
}

fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

impl TryFrom<Secret> for EndpointUrl {
    type Error = Refusal;

    fn try_from(url: Secret) -> Result<Self, Refusal> {
        let invalid = || {
            let allowed = "allowed: http://host:port/path or https://…, special characters percent-encoded";
            Refusal::new("is not the URL of an endpoint", allowed)
        };
        // A parser drops a fragment in silence.
        let whole: Uri = url.expose().parse().ok().filter(|_| !url.expose().contains('#')).ok_or_else(invalid)?;
        let parts = whole.into_parts();
        let scheme = parts.scheme.filter(|scheme| matches!(scheme.as_str(), "http" | "https")).ok_or_else(invalid)?;
        let authority = parts.authority.ok_or_else(invalid)?;
        let (user, host) = match authority.as_str().rsplit_once('@') {
            Some((user, host)) => (Some(Secret::from(user.to_owned())), host),
            None => (None, authority.as_str()),
        };
        let target = Uri::builder().scheme(scheme).authority(host);
        let path = parts.path_and_query.ok_or_else(invalid)?;
        let target = target.path_and_query(path).build().map_err(|_| invalid())?;
        match target.host() {
            None | Some("") => Err(invalid()),
            Some(_) => Ok(Self { url, target, user }),
        }
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.url))
    }
}

/// The URL with stars for what may be a secret.
pub(super) fn masked(url: &Secret) -> String {
    if url.expose().is_empty() {
        return String::new();
    }
    let Ok(EndpointUrl { target, user, .. }) = EndpointUrl::try_from(url.clone()) else {
        return MASK.to_owned();
    };
    let user = user.map_or(String::new(), |_| format!("{MASK}@"));
    let query = target.query().map_or(String::new(), |_| format!("?{MASK}"));
    let (scheme, authority) = (target.scheme_str().unwrap_or_default(), target.authority());
    format!("{scheme}://{user}{}{}{query}", authority.map_or("", |host| host.as_str()), target.path())
}
