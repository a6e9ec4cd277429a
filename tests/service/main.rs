//! The service on a real broker and a real Postgres: one of each for the whole run (`make test` starts them), a fresh
//! database and fresh topics for each test.

#[path = "../shared/by_tool.rs"]
mod by_tool;
mod deployment;
mod expected;
mod flow;
mod locks;
mod outage;
mod program;
mod proxy;
mod records;
mod tables;
mod tansu;

mod conventions;
mod convergence;
mod crashes;
mod dead_letters;
mod documented;
mod documented_tables;
mod faults;
mod faults_of_setup;
mod generations;
mod group;
mod guarantees;
mod http;
mod mcp;
mod offsets;
mod outbox;
mod output;
mod reference;
mod replay;
mod retention;
mod rights;
mod sessions;
mod sides;
mod store;
mod sweep;
mod traces;
mod turns;
mod verify;
