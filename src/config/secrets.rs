//! All secrets of a configuration, to be taken out of what others say.

use std::borrow::Cow;

use super::{
    Config,
    client::ClientValue,
    endpoints::Authorization,
    secret::{MASK, Secret},
};

/// A shorter one would be found in every text.
const SHORTEST: usize = 4;

/// Secrets that must not be passed on, whoever echoes them. Prints as stars.
#[derive(Debug, Clone)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    pub(super) fn of(config: &Config) -> Self {
        let client = config.kafka.client.values().filter_map(|value| match value {
            ClientValue::Secret(secret) => Some(secret.clone()),
            ClientValue::Plain(_) => None,
        });
        let mut secrets: Vec<Secret> = client.chain(config.http.token.clone()).collect();
        secrets.extend(config.postgres.url.secrets());
        for endpoint in config.health.endpoints.values() {
            secrets.extend(endpoint.url.iter().flat_map(|url| url.secrets()));
            if let Authorization::Header { secret, .. } = &endpoint.authorization {
                secrets.push(secret.clone());
            }
        }
        secrets.extend(config.traces.endpoint.iter().flat_map(|url| url.secrets()));
        secrets.extend(config.traces.headers.iter().flat_map(|header| header.secrets()));
        secrets.retain(|secret| secret.expose().len() >= SHORTEST);
        // One that holds another must go first, or its rest would stay.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        Self(secrets)
    }

    /// The text with stars in place of every secret of 4 bytes or more.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, secret| match text.contains(secret.expose()) {
            true => Cow::Owned(text.replace(secret.expose(), MASK)),
            false => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn every_secret_of_a_configuration_is_masked_as_written_and_as_meant_and_short_ones_are_not() {
        let flags = [
            "postgres.url=postgres://u:pass%20word@h/d?password=other",
            "http.token=0123456789abcdef",
            "kafka.client.security.protocol=SASL_SSL",
            "kafka.client.sasl.mechanism=PLAIN",
            "kafka.client.sasl.username=jo",
            "kafka.client.sasl.password=ker",
            "kafka.client.ssl.key.password=kerberos",
        ];
        let flags = flags.map(str::to_owned).to_vec();
        let secrets = Config::load(Sources { flags, ..Sources::default() }).unwrap().secrets();
        let echoed = "pass%20word, pass word, other, 0123456789abcdef, kerberos by jo with ker";
        assert_eq!(secrets.mask(echoed), "***, ***, ***, ***, *** by jo with ker");
        assert!(matches!(secrets.mask("nothing of that"), Cow::Borrowed(_)));
        assert!(!format!("{secrets:?}").contains("kerberos"));
    }
}
