//! TLS, passwords, and certificates that are not to be trusted.

mod certificates;
mod kafka;
mod postgres;
