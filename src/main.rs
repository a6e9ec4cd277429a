//! The program. Everything it does is in the library; its commands are in `cli`.

fn main() -> std::process::ExitCode {
    sessionfold::cli::main(sessionfold::fold::SideAggregators::new())
}
