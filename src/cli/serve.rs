//! `plimsoll serve`: the gateway until it is told to stop. SIGTERM and Ctrl-C stop it and let calls finish; a second one does
//! not wait; SIGHUP reads the policies again.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::allocator::give_back;
use crate::config::Settings;
use crate::diagnostic;
use crate::domain::clock::SystemClock;
use crate::node::Node;
use crate::telemetry;

use super::desk::USUAL_FILE;
use super::output;

pub(super) fn run(config: Option<&Path>) -> ExitCode {
    let filter = environment("PLIMSOLL_LOG").unwrap_or_else(|| telemetry::DEFAULT_FILTER.to_owned());
    let format = match environment("PLIMSOLL_LOG_FORMAT").as_deref() {
        Some("json") => telemetry::LogFormat::Json,
        _ => telemetry::LogFormat::Text,
    };
    if let Err(error) = telemetry::init(format, &filter) {
        return fail(&format!("error: {error}"));
    }
    let usual = Path::new(USUAL_FILE);
    let file = config.or_else(|| usual.exists().then_some(usual));
    let settings = match Settings::load(file, &environment) {
        Ok(settings) => settings,
        Err(broken) => return fail(&diagnostic::render(&broken.diagnostics, &broken.sources)),
    };
    for warning in &settings.warnings {
        output::note(&warning.one_line());
    }
    let ledger = settings.ledger.display().to_string();
    let tls = settings.tls.is_some();
    match Node::start(settings, Arc::new(SystemClock)) {
        Err(error) => fail(&error.to_string()),
        Ok(node) => {
            give_back();
            output::note(&banner(&node, &ledger, tls));
            attend(node)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the door hands the environment to `config`")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn fail(text: &str) -> ExitCode {
    output::note(text);
    ExitCode::from(2)
}

fn banner(node: &Node, ledger: &str, tls: bool) -> String {
    let snapshot = node.control().load();
    let scheme = if tls { "https" } else { "http" };
    let (data, admin) = (node.data_address(), node.admin_address());
    let policy = if node.control().has_files() {
        format!("{} ({})", snapshot.revision, snapshot.policy.mode.as_str())
    } else {
        "none (everything is metered, nothing enforced)".to_owned()
    };
    let mut text = format!(
        "plimsoll {}  policy {policy}  ledger {ledger}  prices {}\n  OpenAI     {scheme}://{data}/openai/v1     export \
         OPENAI_BASE_URL={scheme}://{data}/openai/v1\n  Anthropic  {scheme}://{data}/anthropic     export \
         ANTHROPIC_BASE_URL={scheme}://{data}/anthropic\n  Gemini     {scheme}://{data}/gemini        export \
         GOOGLE_GEMINI_BASE_URL={scheme}://{data}/gemini\n  Admin      curl -H \"authorization: Bearer $TOKEN\" '{scheme}://{admin}/api/v1/spend?by=tenantId'",
        env!("CARGO_PKG_VERSION"),
        node.prices().as_of(),
    );
    for note in node.notes() {
        text.push_str("\n  ");
        text.push_str(note);
    }
    text
}

/// Waits for signals.
fn attend(node: Node) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("error: signals cannot be awaited: {error}")),
    };
    let listened = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        while signals.next().await == Wish::Reload {
            node.reload();
        }
        Ok::<Signals, std::io::Error>(signals)
    });
    let mut signals = match listened {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("error: signals cannot be awaited: {error}")),
    };
    output::note("stopping: calls in flight finish first; once more to stop at once");
    let stopping = std::thread::spawn(move || node.stop());
    runtime.block_on(async {
        let finished = async {
            while !stopping.is_finished() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = finished => ExitCode::SUCCESS,
            () = signals.stop() => ExitCode::from(1),
        }
    })
}

#[derive(PartialEq, Eq)]
enum Wish {
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
        }
    }

    async fn stop(&mut self) {
        while self.next().await == Wish::Reload {}
    }
}
