//! The program. Everything it does is in the library; here are its commands.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
