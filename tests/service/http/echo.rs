//! Stands before Postgres, and then takes its place: it asks whoever comes for the password, and says it aloud.

use std::net::SocketAddr;

use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// One way to Postgres, until it is switched over.
pub struct Switch {
    pub address: SocketAddr,
    echoes: watch::Sender<bool>,
}

impl Switch {
    /// To the server at `host:port`.
    pub async fn start(server: &str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (echoes, switched) = watch::channel(false);
        let server = server.to_owned();
        tokio::spawn(async move {
            loop {
                let (client, _) = socket.accept().await.unwrap();
                let (server, mut switched) = (server.clone(), switched.clone());
                tokio::spawn(async move {
                    // Whoever asked may go away at any time.
                    if *switched.borrow() {
                        let _ = echo(client).await;
                        return;
                    }
                    tokio::select! {
                        _ = pass(client, &server) => {}
                        _ = switched.wait_for(|echoes| *echoes) => {}
                    }
                });
            }
        });
        Self { address, echoes }
    }

    /// From now on Postgres is out of reach.
    pub fn echo(&self) {
        self.echoes.send(true).unwrap();
    }
}

async fn pass(mut client: TcpStream, server: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// By Postgres's protocol: no TLS, then the password in clear text, then the refusal.
async fn echo(mut client: TcpStream) -> io::Result<()> {
    const WANTS_TLS: u32 = 80_877_103;
    loop {
        let length = client.read_u32().await?;
        let code = client.read_u32().await?;
        let mut rest = vec![0; length as usize - 8];
        client.read_exact(&mut rest).await?;
        if code != WANTS_TLS {
            break;
        }
        client.write_all(b"N").await?;
    }
    client.write_all(b"R\0\0\0\x08\0\0\0\x03").await?;
    client.read_u8().await?;
    let length = client.read_u32().await?;
    let mut password = vec![0; length as usize - 4];
    client.read_exact(&mut password).await?;
    let password = String::from_utf8_lossy(&password).trim_end_matches('\0').to_owned();
    let fields = format!("SFATAL\0VFATAL\0C08006\0Mnot now, {password}\0\0");
    client.write_u8(b'E').await?;
    client.write_u32(u32::try_from(fields.len()).unwrap() + 4).await?;
    client.write_all(fields.as_bytes()).await?;
    client.flush().await
}
