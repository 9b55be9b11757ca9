//! `plimsoll demo`: the whole thing at work in one terminal. A scripted provider that speaks three dialects, tenants with plans
//! and a month of history, the realistic policy, the real gateway over real sockets, and traffic that climbs the ladder.

mod screen;
mod traffic;
mod world;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::SignalKind;

use super::output;
use screen::Screen;
use traffic::{Score, Traffic};
use world::World;

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(500);
/// How long a demonstration lasts where nobody can press Ctrl-C.
const UNATTENDED: u64 = 120;

/// How to run the demonstration.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Stop after this many seconds. In a terminal it goes on until Ctrl-C.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Print events line by line instead of drawing.
    #[arg(long)]
    pub plain: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    match runtime.block_on(show(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    output::note(&format!("error: {error}"));
    ExitCode::from(2)
}

async fn show(arguments: &Arguments) -> Result<(), String> {
    let terminal = std::io::stdout().is_terminal();
    let drawn = terminal && !arguments.plain;
    let seconds = arguments.seconds.or((!terminal).then_some(UNATTENDED));
    let world = World::start().await?;
    let score = Arc::new(Score::default());
    let traffic = Traffic::start(&world, &score);
    let mut screen = Screen::new(&world, drawn);
    let started = Instant::now();
    let listen = |kind| tokio::signal::unix::signal(kind).map_err(|error| error.to_string());
    let (mut terminate, mut hangup) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let mut frames = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            _ = frames.tick() => screen.draw(&score, started.elapsed()),
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
        }
        if seconds.is_some_and(|seconds| started.elapsed().as_secs() >= seconds) {
            break;
        }
    }
    traffic.stop().await;
    screen.end(&score, started.elapsed());
    world.stop().await;
    Ok(())
}
