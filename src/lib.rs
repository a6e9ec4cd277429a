mod backoff;
pub mod config;
pub mod event;
pub mod fold;
pub mod record;
pub mod store;
