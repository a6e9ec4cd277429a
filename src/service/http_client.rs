//! The client for what others serve by HTTP. Redirects aren't followed and proxies not used; what is read of an answer is
//! bounded, and nothing of it is passed on.

use std::{error::Error, io};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, Uri,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Connections, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{CertificateError, ClientConfig, RootCertStore, crypto::ring};

use super::fault::Fault;

/// Most bytes that are read of one answer.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// Where to ask, and by what we are known there.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) target: Uri,
    /// Marked as sensitive, so that it prints as nothing.
    pub(super) authorization: Option<HeaderValue>,
}

/// Connections to there.
#[derive(Debug)]
pub(super) struct Client<'a> {
    address: &'a Address,
    connections: Connections<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl<'a> Client<'a> {
    /// With the system's roots as they are now.
    pub(super) async fn new(address: &'a Address) -> Result<Self, Fault> {
        let tls = match address.target.scheme_str() {
            Some("https") => tokio::task::spawn_blocking(with_roots_of_system).await.ok().flatten(),
            _ => without_roots(),
        };
        let tls = tls.ok_or_else(|| Fault::new("the system has no root certificates that can be read"))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(Self { address, connections: Connections::builder(TokioExecutor::new()).build(connector) })
    }

    pub(super) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Fault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.address.target.clone();
        *request.headers_mut() = headers;
        let agent = HeaderValue::from_static(concat!("sessionfold/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        if let Some(authorization) = &self.address.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        self.connections.request(request).await.map_err(|error| in_words(&error))
    }
}

/// The whole body.
pub(super) async fn read(response: Response<Incoming>) -> Result<Bytes, Fault> {
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| in_words(&*error))
}

fn with_roots_of_system() -> Option<ClientConfig> {
    use hyper_rustls::ConfigBuilderExt;
    let versions = ClientConfig::builder_with_provider(ring::default_provider().into());
    Some(versions.with_safe_default_protocol_versions().ok()?.with_native_roots().ok()?.with_no_client_auth())
}

/// Where there is no TLS to be spoken.
fn without_roots() -> Option<ClientConfig> {
    let versions = ClientConfig::builder_with_provider(ring::default_provider().into());
    let roots = RootCertStore::empty();
    Some(versions.with_safe_default_protocol_versions().ok()?.with_root_certificates(roots).with_no_client_auth())
}

/// Why there was no answer, in words of ours and of the system's.
pub(super) fn in_words(error: &(dyn Error + 'static)) -> Fault {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Fault::new(in_words_of_tls(tls));
        }
        if error.is::<http_body_util::LengthLimitError>() {
            return Fault::new(format!("it answers with more than {MOST_BYTES} bytes"));
        }
        if error.to_string() == "dns error" {
            return Fault::new("its host's name has no address");
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            match (io.raw_os_error(), io.get_ref()) {
                (Some(code), _) => return Fault::new(io::Error::from_raw_os_error(code).to_string()),
                // What it wraps says more.
                (None, Some(inner)) => {
                    next = Some(inner);
                    continue;
                }
                (None, None) => return Fault::new(io.kind().to_string()),
            }
        }
        // The last one tells most, and hyper's are constants.
        if error.source().is_none() && error.is::<hyper::Error>() {
            return Fault::new(error.to_string());
        }
        next = error.source();
    }
    Fault::new("it doesn't answer as HTTP has it")
}

fn in_words_of_tls(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => "its certificate is signed by nobody whom this system trusts",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            _ => "its certificate is not valid",
        },
        _ => "TLS failed",
    }
}
