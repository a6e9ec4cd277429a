//! Stands between the service and Postgres, and breaks connections at their COMMIT.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// Where a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Postgres never sees the COMMIT.
    BeforeItArrives,
    /// Postgres sees it, and it is open who is faster: the commit, or the next connection that asks for it.
    OnItsWay,
    /// Postgres has committed; its answer is lost.
    AfterItHappened,
}

/// Breaks every so many commits of transactions that write, in each of these ways in turn.
pub struct Proxy {
    port: u16,
    plan: Arc<Plan>,
}

struct Plan {
    every: u64,
    cuts: Vec<Cut>,
    commits: AtomicU64,
}

impl Plan {
    /// What to do with the next commit.
    fn next(&self) -> Option<Cut> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let cut = || self.cuts[usize::try_from(number / self.every - 1).unwrap() % self.cuts.len()];
        number.is_multiple_of(self.every).then(cut)
    }
}

impl Proxy {
    /// To the server of this URL. Its threads end with the process.
    pub fn start(url: &str, every: u64, cuts: &[Cut]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::new(Plan { every, cuts: cuts.to_vec(), commits: AtomicU64::new(0) });
        let (server, accepting) = (server_of(url).to_owned(), Arc::clone(&plan));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                connect(client, server, Arc::clone(&accepting));
            }
        });
        Self { port, plan }
    }

    /// The URL that leads through it.
    pub fn url(&self, url: &str) -> String {
        url.replace(server_of(url), &format!("127.0.0.1:{}", self.port))
    }

    /// How often each way was gone.
    pub fn cuts(&self, wanted: Cut) -> u64 {
        let made = self.plan.commits.load(Ordering::Relaxed) / self.plan.every;
        let cuts = self.plan.cuts.iter().cycle();
        cuts.zip(0..made).filter(|(cut, _)| **cut == wanted).count() as u64
    }
}

/// `host:port`.
fn server_of(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').unwrap();
    rest.split_once('/').unwrap().0
}

fn connect(client: TcpStream, server: TcpStream, plan: Arc<Plan>) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    // Once set, the server's next word is not told but ends the connection.
    let answer_is_lost = Arc::new(AtomicBool::new(false));
    let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let lost = Arc::clone(&answer_is_lost);
    thread::spawn(move || {
        let _ = tell_back(&from_server, &to_client, &lost);
        close(&from_server, &to_client);
    });
    thread::spawn(move || {
        // An error is the end of one side, and so of both.
        if let Ok(true) = pass_on(&client, &server, &plan, &answer_is_lost) {
            // The other thread closes, once the answer was there.
            return;
        }
        close(&client, &server);
    });
}

fn close(one: &TcpStream, other: &TcpStream) {
    for stream in [one, other] {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn tell_back(mut server: &TcpStream, mut client: &TcpStream, answer_is_lost: &AtomicBool) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = server.read(&mut buffer)?;
        if count == 0 || answer_is_lost.load(Ordering::SeqCst) {
            return Ok(());
        }
        client.write_all(&buffer[..count])?;
    }
}

/// Passes messages on to the server until the connection is to be cut; true if that is left to the server's answer.
fn pass_on(client: &TcpStream, mut server: &TcpStream, plan: &Plan, answer_is_lost: &AtomicBool) -> io::Result<bool> {
    // A request for TLS, which is refused, looks like a start.
    while pass_on_untyped(client, server)? == TLS_REQUEST {}
    let mut writes = false;
    loop {
        let message = read_message(client)?;
        if message[0] == b'Q' && message[5..].starts_with(b"BEGIN") {
            writes = String::from_utf8_lossy(&message).contains("READ WRITE");
        }
        let is_commit = writes && message[0] == b'Q' && message[5..] == *b"COMMIT\0";
        match if is_commit { plan.next() } else { None } {
            None => server.write_all(&message)?,
            Some(Cut::BeforeItArrives) => return Ok(false),
            Some(Cut::OnItsWay) => {
                server.write_all(&message)?;
                return Ok(false);
            }
            Some(Cut::AfterItHappened) => {
                answer_is_lost.store(true, Ordering::SeqCst);
                server.write_all(&message)?;
                return Ok(true);
            }
        }
    }
}

const TLS_REQUEST: u32 = 80_877_103;

/// The messages at the start have no type; returns their code.
fn pass_on_untyped(mut client: &TcpStream, mut server: &TcpStream) -> io::Result<u32> {
    let mut head = [0; 8];
    client.read_exact(&mut head)?;
    let (length, code) = head.split_at(4);
    let mut rest = vec![0; u32::from_be_bytes(length.try_into().unwrap()) as usize - 8];
    client.read_exact(&mut rest)?;
    server.write_all(&[&head[..], &rest].concat())?;
    Ok(u32::from_be_bytes(code.try_into().unwrap()))
}

/// A message with its type, its length and its body.
fn read_message(mut client: &TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    client.read_exact(&mut message)?;
    let length = u32::from_be_bytes(message[1..].try_into().unwrap()) as usize;
    message.resize(1 + length, 0);
    client.read_exact(&mut message[5..])?;
    Ok(message)
}
