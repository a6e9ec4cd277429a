//! The program. Everything it does is in the library; its commands are in `cli`.

/// Batches are made on one thread and dropped on another, which costs glibc's allocator a third of the program's time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads when it starts, by this name: a C string. What one thread frees is there for all others, as few
/// threads allocate. What was freed goes back to the system after a second and not after ten. Each makes a backlog take a
/// tenth less memory. `MALLOC_CONF` in the environment is read after it.
// SAFETY: nothing else exports the name, and jemalloc reads it as the pointer to a C string that it is.
#[unsafe(export_name = "malloc_conf")]
static ALLOCATOR_OPTIONS: &[u8; 47] = b"narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> std::process::ExitCode {
    sessionfold::cli::main(sessionfold::fold::SideAggregators::new())
}
