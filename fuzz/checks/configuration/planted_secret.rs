//! A database's URL and a property for librdkafka with a secret in them, set beside what the input sets.

use super::{super::input::Input, TemporaryFile};

/// Starts with a letter, so that it is no port where the `@` after it is missing.
pub(super) const SECRET: &str = "Qx7Zk2Vw9Lm4Tr8Yp";

/// The layer in which the secret stands.
#[derive(Clone, Copy)]
enum Place {
    Environment,
    Flags,
    File,
    /// In a file of its own, which the environment names.
    SecretFile,
}

pub(super) struct PlantedSecret {
    place: Place,
    /// What stands before the secret in the URL, and at once after it. The input says what comes then.
    around: (&'static str, &'static str),
    property: &'static str,
}

impl PlantedSecret {
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        Self {
            place: input.one_of(&[Place::Environment, Place::Flags, Place::File, Place::SecretFile]),
            around: input.one_of(&[
                ("postgres://user:", ""),
                ("postgresql://:", ""),
                ("postgres://user:pass@", "@"),
                ("postgres://user@host/database?password=", ""),
                ("postgres://user@host/database?sslmode=require&sslkey=", ""),
            ]),
            property: input.one_of(&[
                "sasl.password",
                "ssl.key.password",
                "ssl.key.pem",
                "ssl.keystore.password",
                "sasl.oauthbearer.config",
                "sasl.oauthbearer.client.secret",
            ]),
        }
    }

    pub(super) fn put_into(
        &self,
        url_end: &str,
        file: &mut String,
        environment: &mut Vec<(String, String)>,
        flags: &mut Vec<String>,
    ) -> Option<TemporaryFile> {
        let Self { place, around: (start, end), property } = self;
        let url = format!("{start}{SECRET}{end}{url_end}");
        let property_variable = format!("SESSIONFOLD_KAFKA__CLIENT__{}", property.replace('.', "_").to_uppercase());
        let url_variable = "SESSIONFOLD_POSTGRES__URL";
        match place {
            Place::Environment => {
                environment.push((url_variable.to_owned(), url));
                environment.push((property_variable, SECRET.to_owned()));
            }
            Place::Flags => {
                flags.push(format!("postgres.url={url}"));
                flags.push(format!("kafka.client.{property}={SECRET}"));
            }
            // Before the input's own text, where no open string of that can swallow it, and on the same line, so that it
            // stands on the line at fault.
            Place::File => {
                let url = toml::Value::from(url);
                *file = format!("[postgres]\nurl = {url}\n[kafka.client]\n\"{property}\" = \"{SECRET}\"{file}");
            }
            Place::SecretFile => {
                let secret_file = TemporaryFile::holding("secret", &url);
                let path = secret_file.path().display().to_string();
                environment.push((format!("{url_variable}_FILE"), path.clone()));
                environment.push((format!("{property_variable}_FILE"), path));
                return Some(secret_file);
            }
        }
        None
    }
}
