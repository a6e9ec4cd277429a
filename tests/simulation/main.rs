//! A deterministic simulation of the pipeline: the production code runs, on a Kafka and a Postgres in memory that fail
//! at will. Generated schedules say what happens in which order; after each step the tables are compared with a model.
//!
//! Everything runs on one thread and on a clock that stands still, so a schedule always runs alike. How to run more
//! schedules, or one again, is told in `docs/testing.md`.

mod broker;
mod commit;
mod found;
mod gate;
mod generated;
mod healing;
mod member;
mod memory;
mod model;
mod other;
mod poller;
mod records;
mod side;
mod spans;
mod steps;
mod tables;
mod trace;
mod world;
