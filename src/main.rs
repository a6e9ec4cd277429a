//! The program. Everything it does is in the library; here are its commands.

#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
