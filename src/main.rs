//! The `plimsoll` binary: nothing but the door.

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll::cli::run()
}
