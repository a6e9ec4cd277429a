//! TLS, passwords, and certificates that are not to be trusted.

pub mod certificates;
mod kafka;
mod postgres;
