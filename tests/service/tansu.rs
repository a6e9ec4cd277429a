//! The development broker, for tests that want it where and as the development stack doesn't start it.

use std::{
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::net::TcpStream;

use crate::program::until;

/// A broker at a port; killed when dropped.
pub struct Tansu(Child);

impl Tansu {
    /// Tells clients to come to `advertised`.
    pub async fn start(port: u16, advertised: &str, arguments: &[&str]) -> Self {
        let program = std::env::var("SESSIONFOLD_DEV_BROKER").unwrap_or_else(|_| "target/dev/tansu".to_owned());
        let mut command = Command::new(program);
        command
            .args(["broker", "--storage-engine", "memory://tansu/"])
            .args(["--listener-url", &format!("tcp://127.0.0.1:{port}")])
            .args(["--advertised-listener-url", &format!("tcp://{advertised}")])
            .args(arguments);
        let broker = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let listens = async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
        until("the broker listens", Duration::from_secs(30), listens).await;
        broker
    }
}

impl Drop for Tansu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
