//! `cargo bench`: the gateway's overhead against a direct call, measured on the release binary.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll::cli::bench::run_binary(Path::new(env!("CARGO_BIN_EXE_plimsoll")))
}
