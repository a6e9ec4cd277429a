//! The database's URL.

use std::{fmt, fs};

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::error::Refusal;
use super::secret::{MASK, Secret};

/// The query parameters that the driver understands. It would ignore others, and log them with their values.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[…]",
];

/// The authority that a server's certificate must be signed by.
const ROOT_CERTIFICATE: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];

/// Parameters that name files, with their other names.
const FILES: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// Parameters that are masked. A key's path would do no harm, but a key pasted in its place would.
const MASKED: [&str; 3] = ["password", "sslkey", "ssl-key"];

/// The URL of the database: a secret that has been parsed. Prints with its password masked.
#[derive(Clone)]
pub struct PostgresUrl {
    url: Secret,
    options: PgConnectOptions,
}

impl PostgresUrl {
    /// What the driver connects with. What the URL leaves out comes from the driver's own defaults, which are
    /// libpq's: `PGPASSWORD`, `PGSSLMODE` and the like, and the password file.
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// The passwords in it, as they are written and as they are meant.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let Some(parts) = Parts::of(self.expose()) else { return vec![self.url.clone()] };
        let of_user = parts.user.and_then(|user| user.split_once(':')).map(|(_, password)| password);
        let of_query = parts.parameters().filter(|(name, _)| MASKED.contains(name)).map(|(_, value)| value);
        let written = of_user.into_iter().chain(of_query);
        let meant = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        written.flat_map(|text| [text.to_owned(), meant(text)]).map(Secret::from).collect()
    }

    /// The URL itself, password and all.
    pub fn expose(&self) -> &str {
        self.url.expose()
    }
}

impl TryFrom<Secret> for PostgresUrl {
    type Error = Refusal;

    fn try_from(url: Secret) -> Result<Self, Refusal> {
        let text = url.expose();
        let parts = Parts::of(text).ok_or_else(invalid)?;
        // A parser drops spaces and line breaks in silence. And an `@` in the path is the end of a password with an
        // unescaped slash: the parser would take its start for the port.
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if text.contains(odd) || parts.path.contains('@') {
            return Err(invalid());
        }
        if !parts.parameters().all(|(name, _)| is_known(name)) {
            return Err(Refusal::new(
                "has a query parameter that is not known",
                format!("allowed: {}", PARAMETERS.join(", ")),
            ));
        }
        // The driver's error may quote what it couldn't read; so it is dropped.
        let options: PgConnectOptions = text.parse().map_err(|_| invalid())?;
        check_certificates(&parts, options.get_ssl_mode())?;
        Ok(Self { url, options })
    }
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for PostgresUrl {}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the driver's options, whose Debug shows the password.
        f.write_str(&masked(&self.url))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.url))
    }
}

/// The URL with stars for the password. Built from the parts that may be shown, not by striking out the others.
pub(super) fn masked(url: &Secret) -> String {
    let Some(parts) = Parts::of(url.expose()) else {
        return MASK.to_owned();
    };
    let user = match parts.user {
        Some(user) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:{MASK}@"),
            None => format!("{user}@"),
        },
        None => String::new(),
    };
    let parameter = |(name, value)| match MASKED.contains(&name) {
        true => format!("{name}={MASK}"),
        false => format!("{name}={value}"),
    };
    let query: Vec<String> = parts.parameters().map(parameter).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let Parts { scheme, host, path, .. } = parts;
    format!("{scheme}://{user}{host}{path}{mark}{}", query.join("&"))
}

struct Parts<'a> {
    scheme: &'a str,
    /// `user` or `user:password`
    user: Option<&'a str>,
    host: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        if !matches!(scheme, "postgres" | "postgresql") || rest.contains('#') {
            return None;
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        Some(Self { scheme, user, host, path, query })
    }

    fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

fn is_known(parameter: &str) -> bool {
    let option = parameter.starts_with("options[") && parameter.ends_with(']');
    option || PARAMETERS.contains(&parameter)
}

/// Refuses an authority that the driver would ignore (libpq wouldn't, with `require`), and files that aren't there: the
/// driver's error names none.
fn check_certificates(parts: &Parts<'_>, mode: PgSslMode) -> Result<(), Refusal> {
    let verifies = matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    for (name, path) in parts.parameters().filter(|(name, _)| FILES.contains(name)) {
        if ROOT_CERTIFICATE.contains(&name) && !verifies {
            let problem = format!("has {name}, which has no effect with its sslmode: the certificate isn't checked");
            return Err(Refusal::new(problem, "set sslmode=verify-full (or verify-ca), or leave it out"));
        }
        // A path with escapes is left to the driver, which decodes them.
        if !path.contains(['%', '+'])
            && let Err(error) = fs::metadata(path)
        {
            let problem = format!("names a file in {name} that cannot be read: {error}");
            return Err(Refusal::new(problem, "allowed: the path of a readable file in PEM format"));
        }
    }
    Ok(())
}

fn invalid() -> Refusal {
    Refusal::new(
        "is not a valid Postgres URL",
        "allowed: postgres://user:password@host:port/database?sslmode=…, special characters percent-encoded",
    )
}
