//! `plimsoll bench`: what the gateway costs on this machine, as ratios taken in one run.
//!
//! A fixed provider answers at once; the gateway runs in a process of its own with key check, attribution, metering, the
//! realistic policy, reservation and the ledger on; nginx, where it is installed, passes the same requests on beside it. Each
//! scenario is run against all of them in turn, in short rounds whose order rotates. CPU time is read from the process under
//! test, so the load generator's own work is not in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::output;

mod answer;
mod child;
pub mod large;
mod load;
mod machine;
mod measure;
mod message;
mod nginx;
mod pace;
mod process;
mod provider;
mod report;
mod rig;
mod scenario;

use nginx::Nginx;
use scenario::SCENARIOS;

/// How long and how hard to measure.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Seconds of each measurement in each round.
    #[arg(long, default_value_t = 2)]
    pub seconds: u64,
    /// Rounds; in each, every target has its turn.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Connections at saturation.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Requests per second of the latency measurement (open loop).
    #[arg(long, default_value_t = 1_000)]
    pub rate: u64,
    /// Only this scenario; may be given more than once.
    #[arg(long, value_name = "SCENARIO", value_parser = clap::builder::PossibleValuesParser::new(SCENARIOS.iter().map(|scenario| scenario.name)))]
    pub only: Vec<String>,
    /// The binary to measure; this one when not given.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Leave nginx out although it is installed.
    #[arg(long)]
    pub without_nginx: bool,
    /// Write the results with machine, commit and command there too, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match measure(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: &Arguments) -> io::Result<()> {
    if Nginx::find().is_none() && !arguments.without_nginx {
        output::note(nginx::MISSING);
    }
    output::line(&format!(
        "{} rounds of {} s with {} connections, then {} s at {} requests/s (open loop)",
        arguments.rounds, arguments.seconds, arguments.connections, arguments.seconds, arguments.rate
    ));
    let mut results = machine::describe();
    let mut outcomes = Vec::new();
    for scenario in SCENARIOS {
        if arguments.only.is_empty() || arguments.only.iter().any(|name| name == scenario.name) {
            let outcome = measure::compare(arguments, scenario)?;
            output::line(&format!("\n{}", outcome.text()));
            outcomes.push(outcome.json());
        }
    }
    if let Some(file) = &arguments.json {
        results["scenarios"] = outcomes.into();
        let text = format!("{results:#}\n");
        fs::write(file, text).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    }
    Ok(())
}

/// Runs the benchmark of a given binary; `cargo bench` comes in here.
pub fn run_binary(binary: &Path) -> ExitCode {
    let started = Instant::now();
    let code = run(&Arguments {
        seconds: 2,
        rounds: 3,
        connections: 64,
        rate: 1_000,
        only: Vec::new(),
        binary: Some(binary.to_owned()),
        without_nginx: false,
        json: None,
    });
    output::note(&format!("measured in {} s", started.elapsed().as_secs()));
    code
}
