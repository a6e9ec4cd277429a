//! The socket, and the connections that it accepts.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    config::HttpConfig,
    service::{Ended, Part, Stop},
};

use super::{Observed, router};

/// Most connections at a time; others wait to be accepted. A process has far more files than that.
const MOST_CONNECTIONS: usize = 512;
/// How long a connection may be silent, or take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How old a connection may grow before it is closed after the answer under way.
const MOST_AGE: Duration = Duration::from_secs(300);
/// How long an answer under way may take then, and when the program stops.
const GRACE: Duration = Duration::from_secs(5);
const GRACE_AT_STOP: Duration = Duration::from_millis(500);
/// Without files for new connections nothing is gained by trying at once again.
const AFTER_REFUSAL: Duration = Duration::from_millis(200);

/// A bound socket. It outlives each life of the part that answers on it, so the address never changes and connections
/// wait meanwhile.
#[derive(Debug)]
pub struct Listener {
    socket: Arc<TcpListener>,
    config: HttpConfig,
}

impl Listener {
    /// Binds the configured address; none where listening is off.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn bind(config: &HttpConfig) -> io::Result<Option<Self>> {
        let Some(address) = config.listen else { return Ok(None) };
        let socket = TcpListener::bind(address).await?;
        Ok(Some(Self { socket: Arc::new(socket), config: config.clone() }))
    }

    /// The address that was bound, with the port that the system chose where none was asked for.
    ///
    /// # Errors
    /// If the system doesn't tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// The part that answers.
#[derive(Debug)]
pub struct Http {
    listener: Listener,
    observed: Arc<Observed>,
}

impl Http {
    pub fn new(listener: Listener, observed: Observed) -> Self {
        Self { listener, observed: Arc::new(observed) }
    }
}

impl Part for Http {
    const NAME: &'static str = "http";

    /// Asked to stop, it accepts no more and lets the answers under way end, for a while.
    async fn run(&self, stop: Stop) -> Ended {
        let router = router(Arc::clone(&self.observed), &self.listener.config);
        let mut connections = JoinSet::new();
        accept(&self.listener.socket, router, stop, &mut connections).await;
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE_AT_STOP, ended).await;
        Ended::Done
    }
}

async fn accept(socket: &TcpListener, router: Router, mut stop: Stop, connections: &mut JoinSet<()>) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let permitted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, socket.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            permitted = permitted => permitted,
            () = stop.asked() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    answer(stream, router, stop).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(stream: TcpStream, router: Router, mut stop: Stop) {
    // Answers are written whole.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // Whoever asked may go away at any time.
        _ = &mut connection => return,
        () = tokio::time::sleep(MOST_AGE) => {}
        () = stop.asked() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}
