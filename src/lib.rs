pub mod event;
pub mod fold;
