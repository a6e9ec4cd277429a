//! Free ports on 127.0.0.1.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use super::DevStackError;

/// Every port that was given out in this process. A port is free again for the operating system until its server
/// listens, so a second stack that starts meanwhile could be given the same one.
static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port that nothing listens on and that this process hasn't been given before. Another process may still take it
/// before our server does; whoever starts a server has to try again then.
pub(super) fn free_port() -> Result<u16, DevStackError> {
    // The set is valid after a panic too: insertion is its only change.
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    // Listeners are held until a new port is found, so that the system can't offer a known one over and over.
    let mut held = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DevStackError::NoFreePort)?;
        let port = listener.local_addr().map_err(DevStackError::NoFreePort)?.port();
        if given.insert(port) {
            return Ok(port);
        }
        held.push(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_from_each_other() {
        let ports: HashSet<u16> =
            (0..200).map(|_| free_port().expect("the loopback interface has free ports")).collect();
        assert_eq!(ports.len(), 200);
    }
}
