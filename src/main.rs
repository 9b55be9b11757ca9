//! The `plimsoll` binary: nothing but the door, and the allocator of everything behind it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: plimsoll::allocator::Mimalloc = plimsoll::allocator::Mimalloc;

fn main() -> ExitCode {
    // A huge page is resident as a whole once a byte of it is used; the allocator's own wish for them is off (`no_thp`), and this
    // is for systems that give them to everybody. Where the kernel refuses, memory is all that it costs.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    plimsoll::cli::run()
}
