//! `plimsoll explain`: why something is as it is. Here: what a diagnostic's code means, offline.

pub(super) mod codes;
mod pages;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Args;

use super::desk::fail;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A code of a diagnostic: `E104`.
    what: String,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if codes::is_code(&arguments.what) {
        return codes::show(&arguments.what);
    }
    fail(&format!("error: `{}` is not a code; write `plimsoll explain E104`", arguments.what))
}
