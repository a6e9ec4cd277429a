mod backoff;
pub mod config;
pub mod devstack;
pub mod event;
pub mod fold;
pub mod pipeline;
pub mod record;
pub mod store;
pub mod stream;
