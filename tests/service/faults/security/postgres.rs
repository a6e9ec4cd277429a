//! A Postgres that takes nobody without TLS.

use std::{process::Output, time::Duration};

use sessionfold::devstack::{Options, Postgres};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::certificates::{Authority, Folder};
use crate::{
    convergence::sent_three_times,
    deployment::Deployment,
    expected::Expected,
    faults_of_setup::assert_refused,
    program::{run, until},
    tables::assert_tables_equal,
};

const URL: &str = "SESSIONFOLD_POSTGRES__URL";

/// Passwords for all; for one role a certificate.
const RULES: &str = "hostssl all certified 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// Its certificate is for the name `localhost`, and not for 127.0.0.1.
struct TlsPostgres {
    server: Postgres,
    authority: Authority,
    folder: Folder,
    /// The authority's certificate, as a file.
    root: String,
}

impl TlsPostgres {
    async fn start() -> Self {
        let (authority, folder) = (Authority::new(), Folder::new());
        let server = Postgres::start(&Options::default()).await.unwrap();
        let certificate = authority.issue("localhost");
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        for (file, text) in [
            ("server.crt", &*certificate.certificate),
            ("server.key", &certificate.key),
            ("root.crt", &authority.certificate),
            ("pg_hba.conf", RULES),
        ] {
            write(&mut connection, file, text).await;
        }
        for statement in [
            "ALTER SYSTEM SET ssl = on",
            "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
            "CREATE ROLE certified LOGIN",
            "SELECT pg_reload_conf()",
        ] {
            connection.execute(statement).await.unwrap();
        }
        let root = folder.write("root.pem", &authority.certificate);
        let postgres = Self { server, authority, folder, root };
        let plain = postgres.url("127.0.0.1", "sslmode=disable");
        let refuses = async || PgConnection::connect(&plain).await.is_err();
        until("Postgres refuses connections without TLS", Duration::from_secs(10), refuses).await;
        postgres
    }

    /// The database, by this name of the host.
    fn url(&self, host: &str, parameters: &str) -> String {
        format!("{}?{parameters}", self.server.url().replace("127.0.0.1", host))
    }

    fn verified_url(&self) -> String {
        self.url("localhost", &format!("sslmode=verify-full&sslrootcert={}", self.root))
    }
}

/// Writes a file into the server's data folder, readable for its user only, which Postgres demands of a key.
async fn write(connection: &mut PgConnection, file: &str, text: &str) {
    let lines = format!("SELECT unnest(string_to_array('{}', E'\\n'))", text.trim_end());
    let statement = format!("COPY ({lines}) TO PROGRAM 'umask 077; cat > {file}'");
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_drained_over_verified_tls_equals_the_fold() {
    let postgres = TlsPostgres::start().await;
    let mut deployment = Deployment::new(2).await;
    deployment.url = postgres.url("127.0.0.1", "sslmode=require");
    // The URL, password and all, from a file.
    deployment.settings.retain(|(name, _)| name != URL);
    let file = postgres.folder.write("url", &postgres.verified_url());
    deployment.set("SESSIONFOLD_POSTGRES__URL_FILE", &file);

    let sent = sent_three_times(2_000, 77);
    deployment.send(&sent).await;
    for arguments in [&["migrate"][..], &["run", "--drain"]] {
        let output = run(&deployment, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;

    let options = deployment.config().postgres.connect_options();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let question = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(sqlx::query_scalar::<_, bool>(question).fetch_one(&mut connection).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_takes_the_place_of_a_password() {
    let postgres = TlsPostgres::start().await;
    let mut deployment = Deployment::new(1).await;
    let issued = postgres.authority.issue("certified");
    let certificate = postgres.folder.write("client.pem", &issued.certificate);
    let key = postgres.folder.write("client.key", &issued.key);
    let verified = postgres.verified_url();
    let (_, rest) = verified.rsplit_once('@').unwrap();
    let url = format!("postgres://certified@{rest}");
    deployment.set(URL, &format!("{url}&sslcert={certificate}&sslkey={key}"));
    let output = run(&deployment, &["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("ok     database")), "{text}");

    deployment.set(URL, &url);
    assert_refused(&run(&deployment, &["run", "--drain"]), 1, &["certificate", "sslcert and sslkey"]);
    deployment.set(URL, &format!("{url}&sslcert={certificate}"));
    assert_refused(&run(&deployment, &["run", "--drain"]), 1, &["sslcert and sslkey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_to_be_trusted_is_refused_with_what_to_do() {
    let postgres = TlsPostgres::start().await;
    let mut deployment = Deployment::new(1).await;
    let other = postgres.folder.write("other.pem", &Authority::new().certificate);
    let cases = [
        // The certificate is for another host; verify-ca doesn't ask for the host.
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={}", postgres.root), "not valid for name"),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other}"), "UnknownIssuer"),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={other}"), "UnknownIssuer"),
        // Without a file of its own it is looked for in the system's.
        ("localhost", "sslmode=verify-full".to_owned(), "UnknownIssuer"),
    ];
    for (host, parameters, says) in cases {
        let url = postgres.url(host, &parameters);
        deployment.set(URL, &url);
        for command in ["run", "migrate"] {
            let output = run(&deployment, &[command]);
            assert_refused(&output, 1, &[says, "sslmode=verify-full", "sslrootcert", "postgres.url"]);
            assert_no_password(&output, &url);
        }
    }

    deployment.set(URL, &postgres.url("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={}", postgres.root)));
    assert!(run(&deployment, &["migrate"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_tls_is_refused_where_one_side_wants_it() {
    let postgres = TlsPostgres::start().await;
    let mut deployment = Deployment::new(1).await;
    let plain = deployment.settings.iter().find(|(name, _)| name == URL).unwrap().1.clone();
    let cases = [
        (postgres.url("localhost", "sslmode=disable"), ["no encryption", "sslmode=verify-full"]),
        (format!("{plain}?sslmode=require"), ["server does not support TLS", "ssl = on"]),
    ];
    for (url, says) in cases {
        deployment.set(URL, &url);
        let output = run(&deployment, &["run", "--drain"]);
        assert_refused(&output, 1, &says);
        assert_no_password(&output, &url);
    }
}

fn assert_no_password(output: &Output, url: &str) {
    let (_, rest) = url.split_once("://sessionfold:").unwrap();
    let (password, _) = rest.split_once('@').unwrap();
    assert!(password.len() > 8);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(password));
}
