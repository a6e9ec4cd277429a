//! Reads the session events of coding agents from Kafka, folds them per session, and keeps the result in Postgres.
//!
//! A session's snapshot is a function of the *set* of its events: neither their order nor how often or in which batches
//! they arrive makes a difference, nor does a crash in between.
//!
//! # The route of an event
//!
//! ```text
//! Kafka record ─decode─▶ event or dead letter ─fold─▶ changed sessions ─commit─▶ Postgres ─▶ Kafka offset
//!              (event)                         (fold)                   (store)            (stream)
//! ```
//!
//! One way, no way back. A batch changes its type at each station:
//!
//! 1. The polling thread of [`stream::Consumer`] reads a [`record::Record`], has the [`event::Decoder`] decode it, and
//!    hands over a [`stream::Batch`].
//! 2. [`pipeline::Pipeline`] reads what stands of these sessions and events ([`store::Store::standing`]) and folds the
//!    batch into [`fold::SessionChange`]s ([`fold::BatchFold`]).
//! 3. [`store::Store::commit`] writes checkpoints, sessions, events, transitions and dead letters in one transaction. A
//!    checkpoint that isn't where the batch began fences it; a session that has changed since it was read has the batch
//!    folded again.
//! 4. The [`store::Committed`] that comes out is the only thing that [`stream::Consumer::commit`] takes. So an offset
//!    can't be committed to Kafka too early.
//!
//! Reading starts at the checkpoints in Postgres: it can be told to start only at a [`store::Checkpoint`]. Kafka is asked
//! only where there is none, and hears of one behind which nothing comes.
//!
//! # The rooms
//!
//! | room | its one job | may use |
//! |---|---|---|
//! | [`event`] | bytes to a valid, redacted event, or the reason why not | nothing of ours |
//! | [`record`] | a Kafka record, and the two kinds of offset | `event` |
//! | [`fold`] | events to changed sessions; pure and synchronous: no clock, no I/O, no SQL | `event` |
//! | [`store`] | all SQL there is | `event`, `record`, `fold` |
//! | [`stream`] | all Kafka there is | `event`, `record`, `config`, `generate`; of `store` the proofs: a checkpoint, a commit |
//! | [`traces`] | spans of batches and events, and their form on the wire | `event`, `record`, `config` |
//! | [`pipeline`] | the route: batches, retries, conflicts, fences, refused events | the above |
//! | [`service`] | a consumer and a pipeline put together from the configuration; checks before the start | the above |
//! | [`serve`] | what others ask over HTTP; reads only | `config`, `service` and below |
//! | [`verify`] | what is stored against its events, and these against the topics | the above, `config` |
//! | [`config`] | one typed configuration out of four layers | nothing of ours |
//! | [`generate`] | made-up events | `event` |
//! | `laws` | checks what aggregators promise; only with the feature `laws` | `event`, `fold` |
//! | [`devstack`] | the private broker and Postgres of demo and tests | nothing of ours |
//!
//! The program `sessionfold` is a thin layer of commands over this library.

#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used)]

mod backoff;
pub mod cli;
pub mod config;
pub mod devstack;
pub mod event;
pub mod fold;
pub mod generate;
#[cfg(feature = "laws")]
pub mod laws;
pub mod pipeline;
pub mod record;
pub mod serve;
pub mod service;
pub mod store;
pub mod stream;
pub mod traces;
pub mod verify;
