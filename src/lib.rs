#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used)]

mod backoff;
pub mod config;
pub mod devstack;
pub mod event;
pub mod fold;
pub mod generate;
pub mod pipeline;
pub mod record;
pub mod service;
pub mod store;
pub mod stream;
