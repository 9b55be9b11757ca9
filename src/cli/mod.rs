//! The command line: reads arguments, calls what they name, and turns every outcome into text and an exit code.
//!
//! Exit codes: 0 fine, 1 findings, 2 usage or configuration, 3 something would change.

pub mod bench;
mod check;
pub mod demo;
mod desk;
mod explain;
mod files;
mod keys;
mod ledger;
pub mod output;
mod plan;
mod prices;
mod print;
mod remote;
mod schema;
mod serve;
mod test;
mod text;
mod vantage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Know which customer loses you money on LLM calls, and contain it before the invoice.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the gateway.
    Serve {
        /// The boot configuration. Without one: loopback, meter everything, enforce nothing.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show the whole thing at work: simulated providers, tenants with plans, a live policy. No key, no network.
    Demo(demo::Arguments),
    /// Validate policies without starting anything.
    Check(check::Arguments),
    /// Run the tests beside the policies: given counters, when a call comes, then this is done.
    Test(test::Arguments),
    /// What a folder would change about the policy that runs, and who changes step.
    Plan(plan::Arguments),
    /// Put a folder's policies in force at a running gateway, if what was planned against still runs.
    Apply(plan::Apply),
    /// Why a request, a tenant or a call that nobody made gets what it gets; and what a diagnostic's code means.
    Explain(explain::Arguments),
    /// Print the policies as they are understood, in one file: files merged, defaults written out, money in dollars.
    Print(print::Arguments),
    /// Print the JSON Schema of a file, for editors, or its reference.
    Schema(schema::Arguments),
    /// Gateway keys.
    Keys {
        #[command(subcommand)]
        verb: keys::Verb,
    },
    /// The prices in force, models without one, and a comparison with a provider's invoice.
    Prices(prices::Arguments),
    /// The ledger: verify it, and see and resolve what is in doubt.
    Ledger(ledger::Arguments),
    /// Measure the gateway's overhead against a direct call, on this machine.
    Bench(bench::Arguments),
}

/// Runs the command that the process was called with.
pub fn run() -> ExitCode {
    // One crypto provider for every TLS user; a second call only happens in tests and changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Arguments::parse().verb {
        Verb::Serve { config } => serve::run(config.as_deref()),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Plan(arguments) => plan::run(&arguments),
        Verb::Apply(arguments) => plan::apply(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Print(arguments) => print::run(&arguments),
        Verb::Schema(arguments) => schema::run(&arguments),
        Verb::Keys { verb } => keys::run(&verb),
        Verb::Prices(arguments) => prices::run(&arguments),
        Verb::Ledger(arguments) => ledger::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
    }
}
