//! A minimal client: one request a connection.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::program::{Instance, until};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where an instance listens.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub token: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The problem that it is, whole and of this status.
    #[track_caller]
    pub fn problem(&self, status: u16, path: &str) -> String {
        assert_eq!((self.status, self.header("content-type")), (status, Some("application/problem+json")), "{self:?}");
        let body = self.json();
        let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["detail", "instance", "status", "title", "type"]);
        assert_eq!((&body["status"], &body["instance"]), (&status.into(), &path.into()));
        body["detail"].as_str().unwrap().to_owned()
    }
}

impl Client {
    /// Of an instance that was told to listen, once its log says where.
    pub async fn of(instance: &Instance) -> Self {
        let address = || {
            let log = instance.log();
            let (_, rest) = log.split_once("listening for HTTP address=")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        until("the log says where it listens", PATIENCE, async || address().is_some()).await;
        Self { address: address().unwrap(), token: None }
    }

    pub async fn get(&self, path: &str) -> Answer {
        let host = format!("Host: {}\r\n", self.address);
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        self.send(&format!("GET {path} HTTP/1.1\r\n{host}{}", token.unwrap_or_default())).await
    }

    /// The head without its last lines.
    pub async fn send(&self, head: &str) -> Answer {
        self.send_with(head, "").await
    }

    /// The same with a body, of which the head says nothing.
    pub async fn send_with(&self, head: &str, body: &str) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}{length}Connection: close\r\n\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Answer { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status
    }

    pub async fn until_ready(&self) {
        until("it is ready", PATIENCE, async || self.status("/readyz").await == 200).await;
    }

    pub async fn reasons(&self, path: &str) -> String {
        self.get(path).await.json()["reasons"].to_string()
    }
}
