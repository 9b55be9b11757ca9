//! `plimsoll bench`: what the gateway costs on this machine, as ratios taken in one run.
//!
//! A scripted provider answers at once; the gateway runs in a process of its own with key check, attribution, metering, the
//! realistic policy and the ledger on; each scenario is run against the provider directly and through the gateway. CPU time
//! is read from the gateway's process, so the load generator's own work is not in it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::sim;

use super::output;

mod child;
mod load;

use child::Child;
use load::{Figures, Load};

/// How long and how hard to measure.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Seconds per measurement.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Connections at saturation.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Requests per second of the latency measurement (open loop).
    #[arg(long, default_value_t = 1_000)]
    pub rate: u64,
    /// The binary to measure; this one when not given.
    #[arg(long, value_name = "FILE", hide = true)]
    pub binary: Option<PathBuf>,
}

struct Scenario {
    name: &'static str,
    path: &'static str,
    body: Vec<u8>,
}

fn scenarios() -> Vec<Scenario> {
    let chat = |bytes: usize, stream: bool| {
        let text = "All work and no play makes a dull gateway. ".repeat(bytes / 43 + 1);
        format!(
            r#"{{"model":"gpt-4o-mini","stream":{stream},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            &text[..bytes]
        )
        .into_bytes()
    };
    vec![
        Scenario { name: "chat, 2 kB", path: "/v1/chat/completions", body: chat(2_000, false) },
        Scenario { name: "chat, 100 kB", path: "/v1/chat/completions", body: chat(100_000, false) },
        Scenario { name: "SSE burst, 64 events", path: "/v1/chat/completions", body: chat(2_000, true) },
    ]
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

fn measure(arguments: &Arguments) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let provider = sim::Provider::start(sim::Script::fast()).await?;
        let binary = match &arguments.binary {
            Some(binary) => binary.clone(),
            None => std::env::current_exe()?,
        };
        let gateway = Child::start(&binary, &provider.base_url()).await?;
        output::line(&format!(
            "{} connections, {} s each; latency at {} requests/s, open loop; machine: {} cores\n",
            arguments.connections,
            arguments.seconds,
            arguments.rate,
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        ));
        output::line(HEAD);
        for scenario in scenarios() {
            compare(arguments, &scenario, &provider, &gateway).await?;
        }
        output::line(&format!("\ngateway resident: {} MiB", gateway.resident_mib()?));
        output::line("The provider and the load generator share these cores; trust CPU-µs and ratios, not requests/s.");
        drop(gateway);
        Ok(())
    })
}

const HEAD: &str = "scenario               target        req/s   CPU-µs/req    p50 µs    p99 µs  p99.9 µs    errors";

async fn compare(
    arguments: &Arguments,
    scenario: &Scenario,
    provider: &sim::Provider,
    gateway: &Child,
) -> std::io::Result<()> {
    let length = Duration::from_secs(arguments.seconds);
    let direct = Load::new(provider.address(), scenario.path, &scenario.body, None);
    let path = format!("/openai{}", scenario.path);
    let through = Load::new(gateway.address(), &path, &scenario.body, Some(child::KEY));
    let mut rows: Vec<(&str, Figures)> = Vec::new();
    for (name, load, process) in [("direct", &direct, None), ("plimsoll", &through, Some(gateway))] {
        load.saturate(arguments.connections, Duration::from_millis(500)).await?;
        let before = process.map(Child::cpu).transpose()?;
        let mut figures = load.saturate(arguments.connections, length).await?;
        if let (Some(process), Some(before)) = (process, before) {
            figures.cpu_per_request = Some(
                process.cpu()?.saturating_sub(before) / u32::try_from(figures.requests.max(1)).unwrap_or(u32::MAX),
            );
        }
        let paced = load.paced(arguments.rate, length).await?;
        figures.latency = paced.latency;
        rows.push((name, figures));
    }
    for (name, figures) in &rows {
        output::line(&figures.row(scenario.name, name));
    }
    if let [(_, direct), (_, through)] = rows.as_slice() {
        output::line(&format!(
            "{:<22} added         p50 {} µs, p99 {} µs; requests/s {} % of direct",
            "",
            through.quantile(0.5).saturating_sub(direct.quantile(0.5)),
            through.quantile(0.99).saturating_sub(direct.quantile(0.99)),
            through.per_second() * 100 / direct.per_second().max(1),
        ));
    }
    Ok(())
}

/// Runs the benchmark of a given binary; `cargo bench` comes in here.
pub fn run_binary(binary: &Path) -> ExitCode {
    let started = Instant::now();
    let code = run(&Arguments { seconds: 3, connections: 64, rate: 1_000, binary: Some(binary.to_owned()) });
    output::note(&format!("measured in {} s", started.elapsed().as_secs()));
    code
}
