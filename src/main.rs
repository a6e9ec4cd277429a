//! The program. Everything it does is in the library; its commands are in `cli`.

/// Batches are made on one thread and dropped on another, which costs glibc's allocator a third of the program's time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    sessionfold::cli::main(sessionfold::fold::SideAggregators::new())
}
