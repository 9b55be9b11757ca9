//! `plimsoll bench`: what the gateway costs on this machine, as ratios taken in one run.
//!
//! A fixed provider answers at once; the gateway runs in a process of its own with key check, attribution, metering, the
//! realistic policy, reservation and the ledger on; nginx, where it is installed, passes the same requests on beside it. Each
//! scenario is run against all of them in turn, in short rounds whose order rotates. CPU time is read from the process under
//! test, so the load generator's own work is not in it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::runtime::Handle;

use super::output;

mod answer;
mod child;
mod load;
mod message;
mod nginx;
mod pace;
mod process;
mod provider;
mod report;
mod scenario;

use child::Child;
use load::{Load, Order};
use nginx::Nginx;
use process::Watched;
use provider::Provider;
use report::{Outcome, Row};
use scenario::{SCENARIOS, Scenario};

/// Load before anything is counted: connections open, caches fill.
const WARM_UP: Duration = Duration::from_millis(300);

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

/// What answers requests.
struct Target<'r> {
    name: &'static str,
    order: Order,
    watched: Option<Watched>,
    idle_kib: u64,
    _rig: &'r Rig,
}

/// Everything that runs during the benchmark.
struct Rig {
    gateway: Child,
    nginx: Option<Nginx>,
    provider: Provider,
}

impl Rig {
    fn start(arguments: &Arguments) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let provider = Provider::start(cores)?;
        let binary = match &arguments.binary {
            Some(binary) => binary.canonicalize()?,
            None => std::env::current_exe()?,
        };
        let gateway = Child::start(&binary, provider.address())?;
        let found = if arguments.without_nginx { None } else { Nginx::find() };
        let nginx = found.map(|file| Nginx::start(&file, provider.address(), arguments.connections)).transpose()?;
        Ok(Self { gateway, nginx, provider })
    }

    /// The provider itself, nginx and the gateway, as far as they are there.
    fn targets(&self, scenario: &Scenario) -> io::Result<Vec<Target<'_>>> {
        let target = |name, address, path, watched: Option<Watched>| -> io::Result<Target<'_>> {
            let idle_kib = watched.as_ref().map(Watched::resident_kib).transpose()?.unwrap_or(0);
            Ok(Target { name, order: scenario.order(address, path), watched, idle_kib, _rig: self })
        };
        let path = "/v1/chat/completions";
        let mut targets = vec![target("direct", self.provider.address(), path, None)?];
        if let Some(nginx) = &self.nginx {
            targets.push(target("nginx", nginx.address(), path, Some(nginx.watched()?))?);
        }
        let through = "/openai/v1/chat/completions";
        targets.push(target("plimsoll", self.gateway.address(), through, Some(self.gateway.watched()?))?);
        Ok(targets)
    }
}

fn measure(arguments: &Arguments) -> io::Result<()> {
    let rig = Rig::start(arguments)?;
    if rig.nginx.is_none() && !arguments.without_nginx {
        output::note(nginx::MISSING);
    }
    output::line(&format!(
        "{} cores; {} rounds of {} s with {} connections, then {} s at {} requests/s (open loop)",
        rig.provider.cores().len(),
        arguments.rounds,
        arguments.seconds,
        arguments.connections,
        arguments.seconds,
        arguments.rate
    ));
    for scenario in SCENARIOS {
        if arguments.only.is_empty() || arguments.only.iter().any(|name| name == scenario.name) {
            let outcome = compare(arguments, scenario, &rig)?;
            output::line(&format!("\n{}", outcome.text()));
        }
    }
    Ok(())
}

fn compare(arguments: &Arguments, scenario: &Scenario, rig: &Rig) -> io::Result<Outcome> {
    let targets = rig.targets(scenario)?;
    let mut rows: Vec<Row> = targets.iter().map(|target| Row::new(target.name)).collect();
    for round in 0..arguments.rounds {
        for turn in 0..targets.len() {
            let at = (round + turn) % targets.len();
            if let Some((target, row)) = targets.get(at).zip(rows.get_mut(at)) {
                saturate(arguments, target, row, rig.provider.cores())?;
                pace(arguments, target, row)?;
            }
        }
    }
    let mark = if rig.nginx.is_some() { "nginx" } else { "direct" };
    Ok(Outcome {
        name: scenario.name,
        title: scenario.title.to_owned(),
        unit: "request",
        rows,
        mark,
        notes: Vec::new(),
    })
}

/// As many requests as the connections can carry. CPU counts from idle to idle, so that rows which are written after the load
/// are paid for too, and so is the warm-up, whose requests count with it.
fn saturate(arguments: &Arguments, target: &Target<'_>, row: &mut Row, cores: &[Handle]) -> io::Result<()> {
    let before = target.watched.as_ref().map(Watched::settled).transpose()?;
    let load = Load::start(&target.order, arguments.connections, cores);
    std::thread::sleep(WARM_UP);
    let (counted, started) = (load.tally().requests(), Instant::now());
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let (requests, elapsed) = (load.tally().requests() - counted, started.elapsed());
    if let Some(watched) = &target.watched {
        row.resident_kib = Some((target.idle_kib, watched.resident_kib()?));
    }
    let tally = load.stop();
    if let (Some(watched), Some(before)) = (&target.watched, before) {
        row.add_cpu(watched.settled()? - before);
    }
    row.per_second.push(u64::try_from(u128::from(requests) * 1_000 / elapsed.as_millis().max(1)).unwrap_or(u64::MAX));
    row.units += tally.requests();
    row.errors += tally.errors();
    row.note(tally.first_fault().map(|fault| fault.to_string()));
    Ok(())
}

fn pace(arguments: &Arguments, target: &Target<'_>, row: &mut Row) -> io::Result<()> {
    row.add_latencies(&pace::measure(&target.order, arguments.rate, Duration::from_secs(arguments.seconds)));
    target.watched.as_ref().map(Watched::settled).transpose()?;
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
    });
    output::note(&format!("measured in {} s", started.elapsed().as_secs()));
    code
}
