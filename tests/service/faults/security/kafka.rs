//! Brokers behind TLS and passwords. The development broker has no TLS of its own and keeps no users, so a listener of
//! this test speaks SASL_SSL, with the mechanism PLAIN, and hands on the rest.

use std::{
    io,
    net::{Ipv4Addr, TcpListener as Bound},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use sessionfold::stream::create_topics;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::certificates::{Authority, Folder};
use crate::{
    convergence::sent_three_times, deployment::Deployment, expected::Expected, program::run,
    tables::assert_tables_equal, tansu::Tansu,
};

const USERNAME: &str = "me";
const PASSWORD: &str = "hunter2";

/// By their numbers in Kafka's protocol.
const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;

/// Another process may take it before it is used; then the test fails.
fn free_port() -> u16 {
    Bound::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// SASL_SSL at `localhost`, by which name its certificate is issued, and not at 127.0.0.1.
struct SecureBroker {
    _broker: Tansu,
    address: String,
    port: u16,
    folder: Folder,
    /// The authority's certificate, as a file.
    root: String,
}

impl SecureBroker {
    async fn start() -> Self {
        let (authority, folder) = (Authority::new(), Folder::new());
        let issued = authority.issue("localhost");
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, behind) = (listener.local_addr().unwrap().port(), free_port());
        let address = format!("localhost:{port}");
        let broker = Tansu::start(behind, &address, &["--silent"]).await;
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Clients that don't trust it, and wrong passwords, end here.
                    let _ = serve(acceptor, client, behind).await;
                });
            }
        });
        let root = folder.write("root.pem", &authority.certificate);
        Self { _broker: broker, address, port, folder, root }
    }
}

async fn serve(acceptor: TlsAcceptor, client: TcpStream, broker: u16) -> io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await?;
    loop {
        let request = read(&mut client).await?;
        match i16::from_be_bytes([request[0], request[1]]) {
            SASL_HANDSHAKE => answer(&mut client, &request, b"\0\0\0\0\0\x01\0\x05PLAIN").await?,
            SASL_AUTHENTICATE if request.ends_with(format!("\0{USERNAME}\0{PASSWORD}").as_bytes()) => {
                // No error, no message, no bytes, and a session without an end.
                answer(&mut client, &request, b"\0\0\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0").await?;
                break;
            }
            // 58 is the code for a failed authentication.
            SASL_AUTHENTICATE => answer(&mut client, &request, b"\0\x3a\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0").await?,
            // Which requests the broker knows is asked before.
            _ => {
                write(&mut broker, &request).await?;
                let response = read(&mut broker).await?;
                write(&mut client, &response).await?;
            }
        }
    }
    copy_bidirectional(&mut client, &mut broker).await.map(drop)
}

/// A request or a response, which begin with their length.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), frame].concat()).await?;
    stream.flush().await
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), request: &[u8], body: &[u8]) -> io::Result<()> {
    write(stream, &[&request[4..8], body].concat()).await
}

fn set(deployment: &mut Deployment, property: &str, value: &str) {
    let variable = property.replace('.', "_").to_uppercase();
    deployment.set(&format!("SESSIONFOLD_KAFKA__CLIENT__{variable}"), value);
}

fn use_sasl(deployment: &mut Deployment, mechanism: &str, password: &str) {
    set(deployment, "sasl.mechanism", mechanism);
    set(deployment, "sasl.username", USERNAME);
    set(deployment, "sasl.password", password);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_drained_with_tls_and_a_password_equals_the_fold() {
    let broker = SecureBroker::start().await;
    let mut deployment = Deployment::new(1).await;
    deployment.set("SESSIONFOLD_KAFKA__BROKERS", &broker.address);
    set(&mut deployment, "security.protocol", "SASL_SSL");
    set(&mut deployment, "sasl.mechanism", "PLAIN");
    set(&mut deployment, "sasl.username", USERNAME);
    set(&mut deployment, "sasl.password.file", &broker.folder.write("password", "hunter2\n"));
    set(&mut deployment, "ssl.ca.location", &broker.root);

    create_topics(&deployment.config().kafka, &deployment.topics, 2).await.unwrap();
    let sent = sent_three_times(2_000, 78);
    deployment.send(&sent).await;
    let output = run(&deployment, &["run", "--drain"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_tables_equal(&deployment, &Expected::of(&sent)).await;
}

/// A listener that answers everything with the same bytes, none of which are Kafka's.
async fn gibberish() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 64];
                while client.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                }
            });
        }
    });
    address
}

/// Each is said in words of librdkafka's, with where to look; and within the 8 seconds that the check allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_be_talked_to_is_told_within_the_deadline() {
    let broker = SecureBroker::start().await;
    let port = free_port();
    // It can't be given users, and knows nobody.
    let strict = format!("127.0.0.1:{port}");
    let _strict = Tansu::start(port, &strict, &["--authentication"]).await;
    let (gibberish, plain) = (gibberish().await, std::env::var("SESSIONFOLD_KAFKA__BROKERS").unwrap());
    let other = broker.folder.write("other.pem", &Authority::new().certificate);
    let by_address = format!("127.0.0.1:{}", broker.port);

    // Address, protocol, authority, mechanism, and what must be said.
    let (root, secure) = (Some(&*broker.root), &*broker.address);
    let cases = [
        (secure, "SASL_SSL", root, Some("PLAIN"), "SASL"),
        (secure, "SSL", Some(&*other), None, "certificate verify failed"),
        (secure, "SSL", None, None, "certificate verify failed"),
        (&*by_address, "SSL", root, None, "certificate verify failed"),
        (secure, "PLAINTEXT", None, None, "security.protocol"),
        (&*plain, "SSL", None, None, "security.protocol"),
        (&*strict, "SASL_PLAINTEXT", None, Some("SCRAM-SHA-512"), "SCRAM authentication failed"),
        (&*strict, "SASL_PLAINTEXT", None, Some("SCRAM-SHA-256"), "SCRAM authentication failed"),
        (&*gibberish, "PLAINTEXT", None, None, "security.protocol"),
        (&*gibberish, "SSL", None, None, "security.protocol"),
    ];
    let mut deployments = Vec::new();
    for (address, protocol, authority, mechanism, says) in cases {
        let mut deployment = Deployment::new(1).await;
        deployment.set("SESSIONFOLD_KAFKA__BROKERS", address);
        set(&mut deployment, "security.protocol", protocol);
        if let Some(authority) = authority {
            set(&mut deployment, "ssl.ca.location", authority);
        }
        if let Some(mechanism) = mechanism {
            use_sasl(&mut deployment, mechanism, "wrong-hunter2");
        }
        deployments.push((deployment, says));
    }
    thread::scope(|scope| {
        for (deployment, says) in &deployments {
            scope.spawn(|| assert_told(deployment, says));
        }
    });
}

fn assert_told(deployment: &Deployment, says: &str) {
    let started = Instant::now();
    let output = run(deployment, &["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    // Ten programs start at once, which takes them a moment.
    assert!(started.elapsed() < Duration::from_secs(11), "{:?}", started.elapsed());
    let line = text.lines().find(|line| line.starts_with("FAILED broker")).unwrap_or_else(|| panic!("{text}"));
    for part in [says, "kafka.brokers", "[kafka.client]"] {
        assert!(line.contains(part), "{line} should say {part}");
    }
    println!("{:.1} s: {line}", started.elapsed().as_secs_f64());
    assert!(!format!("{text}{}", String::from_utf8_lossy(&output.stderr)).contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_set_of_properties_is_a_wrong_configuration() {
    let mut deployment = Deployment::new(1).await;
    set(&mut deployment, "sasl.password", PASSWORD);
    let assert_wrong = |deployment: &Deployment, says: &[&str]| {
        let output = run(deployment, &["check"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(says.iter().all(|part| text.contains(part)), "{text} should say {says:?}");
        assert!(!text.contains(PASSWORD));
    };
    assert_wrong(&deployment, &["FAILED configuration", "kafka.client.sasl.password", "security.protocol"]);
    set(&mut deployment, "security.protocol", "SASL_SSL");
    assert_wrong(&deployment, &["kafka.client.security.protocol", "kafka.client.sasl.mechanism"]);
    set(&mut deployment, "sasl.mechanism", "SCRAM-SHA-512");
    assert_wrong(&deployment, &["kafka.client.sasl.mechanism", "kafka.client.sasl.username"]);
    set(&mut deployment, "sasl.username", USERNAME);
    set(&mut deployment, "ssl.ca.location", "/no/such/file");
    assert_wrong(&deployment, &["kafka.client.ssl.ca.location", "No such file"]);

    deployment.settings.retain(|(name, _)| !name.ends_with("SSL_CA_LOCATION"));
    let output = run(&deployment, &["config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("\"sasl.password\" = \"***\"") && !text.contains(PASSWORD), "{text}");
}
