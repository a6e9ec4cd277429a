//! TLS, passwords, and certificates that are not to be trusted.
