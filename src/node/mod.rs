//! Puts the parts together: settings in, a running gateway out, and an orderly end.
//!
//! The data plane has a thread per core; the admin listener, the notifications and the folder's watcher have threads of
//! their own, so that they answer while the data plane is busy.

mod alarm;
mod expiry;
mod past;
mod view;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin;
use crate::alert::courier::{Courier, Outcome as Delivery, Retries};
use crate::config::Settings;
use crate::control::watch::{Outcome, Watch};
use crate::control::{Broken, Control, Surroundings};
use crate::diagnostic;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::price::PriceBook;
use crate::domain::window::Period;
use crate::gateway::certificate::Certificate;
use crate::gateway::listen::{self, Running};
use crate::gateway::{Gateway, Replays, keys, upstream};
use crate::ledger::{Column, Ledger, LedgerError, SpendQuery};
use crate::meter::Meter;
use crate::meter::pace::Pace;
use crate::meter::reservation;
use crate::telemetry::Metrics;

use alarm::LedgerWatch;
use expiry::ExpiryWatch;

/// How long notifications may take after that.
const LAST_POST: Duration = Duration::from_secs(5);
/// How often the ledger and exceptions are looked at, of which somebody may have to be told.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the certificate's files are looked at, and what is idle is forgotten.
const CHORES_EVERY: Duration = Duration::from_secs(5);

/// A running gateway.
pub struct Node {
    running: Option<Running>,
    watch: Option<Watch>,
    gateway: Arc<Gateway>,
    data_address: SocketAddr,
    admin_address: SocketAddr,
    admin_token: SecretString,
    stop: watch::Sender<bool>,
    admin: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    notes: Vec<String>,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// The policy is broken.
    Policy(Broken),
    /// The ledger cannot be used.
    Ledger(LedgerError),
    /// An address or a file cannot be used.
    Io(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(broken) => f.write_str(&diagnostic::render(&broken.diagnostics, &broken.sources)),
            Self::Ledger(error) => write!(f, "error: the ledger cannot be used: {error}"),
            Self::Io(what) => write!(f, "error: {what}"),
        }
    }
}

impl std::error::Error for StartError {}

fn io_error(what: &str) -> impl Fn(io::Error) -> StartError {
    let what = what.to_owned();
    move |error| StartError::Io(format!("{what}: {error}"))
}

impl Node {
    /// Starts everything. Blocks until the listeners are open; call it outside of an async task.
    pub fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let Settings { listen, admin_listen, admin_token, policies, ledger, data, targets, prices, tls, .. } = settings;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("plimsoll-admin")
            .enable_all()
            .build()
            .map_err(io_error("a runtime cannot be made"))?;
        let ledger = open_books(&ledger)?;
        let metrics = Arc::new(Metrics::default());
        let control = control(policies, prices, &targets, &clock, &ledger)?;
        metrics.policy_loaded(true, clock.now().seconds());
        label_dearest(&runtime, &metrics, &ledger, clock.now());
        let courier = {
            let _inside = runtime.enter();
            Arc::new(Courier::start(targets, &clock, Arc::new(note_delivery), Retries::default()))
        };
        let certificate =
            tls.map(|files| Certificate::load(files.cert, files.key)).transpose().map_err(StartError::Io)?;
        let gateway = Arc::new(Gateway {
            replays: data.replay.map(Replays::new),
            options: data,
            meter: Arc::clone(control.meter()),
            control,
            pace: Arc::new(Pace::default()),
            lines: crate::gateway::Lines::default(),
            ledger,
            metrics,
            courier,
            clock,
            tls: upstream::tls_connector(),
            presences: DashMap::new(),
            retries: crate::gateway::Retries::default(),
        });
        let acceptor = certificate.as_ref().map(Certificate::acceptor);
        let running = listen::start(&gateway, listen, acceptor.as_ref(), cores())
            .map_err(io_error(&format!("`{listen}` cannot be listened on")))?;
        let (admin_token, generated) = token(admin_token)?;
        let listener = runtime
            .block_on(TcpListener::bind(admin_listen))
            .map_err(io_error(&format!("`{admin_listen}` cannot be listened on")))?;
        let admin_address = listener.local_addr().map_err(io_error("the admin listener has no address"))?;
        let (stop, stopped) = watch::channel(false);
        let router = admin::router(view::state(&gateway, &admin_token));
        let admin = runtime.spawn(admin::serve(listener, acceptor, router, until(stopped.clone())));
        runtime.spawn(chores(Arc::clone(&gateway), certificate, stopped));
        let told = Arc::clone(&gateway);
        let watch = Watch::start(Arc::clone(&gateway.control), move |outcome| note_reload(&told, &outcome))
            .map_err(io_error("the policies' folder cannot be watched"))?;
        Ok(Self {
            data_address: running.address(),
            notes: notes(&gateway, generated, &admin_token),
            running: Some(running),
            watch: Some(watch),
            gateway,
            admin_address,
            admin_token,
            stop,
            admin: Some(admin),
            runtime: Some(runtime),
        })
    }

    /// Where applications call.
    pub fn data_address(&self) -> SocketAddr {
        self.data_address
    }

    /// Where operators look.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The token of the admin API.
    pub fn admin_token(&self) -> &SecretString {
        &self.admin_token
    }

    /// What the operator should read at start, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The running policy and the way to replace it.
    pub fn control(&self) -> &Arc<Control> {
        &self.gateway.control
    }

    /// The tariff's date.
    pub fn prices(&self) -> Arc<PriceBook> {
        Arc::clone(&self.gateway.control.load().prices)
    }

    /// Reads the policies again now, as after SIGHUP.
    pub fn reload(&self) {
        note_reload(&self.gateway, &self.gateway.control.reload_now());
    }

    /// Accepts nothing more, lets calls finish, writes everything down.
    pub fn stop(mut self) {
        self.end(self.gateway.options.limits.grace);
    }

    fn end(&mut self, grace: Duration) {
        let Some(runtime) = self.runtime.take() else { return };
        if let Some(watch) = &self.watch {
            watch.stop();
        }
        if let Some(running) = self.running.take() {
            running.stop(grace);
        }
        // A reload that is under way gives way to calls: they are not kept waiting for it.
        self.watch = None;
        let _ = self.stop.send(true);
        let admin = self.admin.take();
        let lost = runtime.block_on(async {
            if let Some(admin) = admin {
                let _ = admin.await;
            }
            self.gateway.courier.close(LAST_POST).await
        });
        if lost > 0 {
            tracing::warn!(lost, "notifications were not delivered before the end");
        }
        runtime.shutdown_timeout(Duration::from_secs(1));
        self.gateway.ledger.clone().close();
    }
}

impl Drop for Node {
    /// On a thread of its own: whoever drops a node may stand in an async task, where nothing may block on a runtime.
    fn drop(&mut self) {
        if self.runtime.is_some() {
            std::thread::scope(|scope| {
                scope.spawn(|| self.end(Duration::from_millis(100)));
            });
        }
    }
}

/// Opens the ledger, once the meter has shown that it refuses what does not fit.
fn open_books(path: &std::path::Path) -> Result<Ledger, StartError> {
    if !reservation::holds_the_line() {
        return Err(StartError::Io("the meter admits more than a budget has room for; nothing is started".to_owned()));
    }
    Ledger::open(path).map_err(StartError::Ledger)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn control(
    folder: std::path::PathBuf,
    prices: PriceBook,
    targets: &crate::alert::target::Targets,
    clock: &Arc<dyn Clock>,
    ledger: &Ledger,
) -> Result<Arc<Control>, StartError> {
    let around = Surroundings {
        folder,
        prices: Arc::new(prices),
        notify_targets: targets.iter().map(|(name, _)| name.to_string()).collect(),
        meter: Arc::new(Meter::default()),
        clock: Arc::clone(clock),
        history: past::history(ledger),
    };
    Control::start(around).map(Arc::new).map_err(StartError::Policy)
}

/// The dearest tenants of the last month keep labels of their own over a restart. The start does not wait for the sum.
fn label_dearest(runtime: &Runtime, metrics: &Arc<Metrics>, ledger: &Ledger, now: Timestamp) {
    let since = Timestamp::from_seconds(now.seconds() - Period::Month.nominal_seconds());
    let query = SpendQuery { by: vec![Column::TenantId], since: Some(since), until: None, filters: Vec::new() };
    let (metrics, reader) = (Arc::clone(metrics), ledger.reader());
    runtime.spawn_blocking(move || match reader.spend(&query) {
        Ok(rows) => metrics.label_tenants(rows.iter().filter_map(|row| row.dimensions.first()?.as_deref())),
        Err(error) => tracing::warn!(%error, "the dearest tenants could not be read from the ledger"),
    });
}

/// The configured token, or a random one.
fn token(configured: Option<SecretString>) -> Result<(SecretString, bool), StartError> {
    match configured {
        Some(token) => Ok((token, false)),
        None => keys::generate()
            .map(|token| (SecretString::from(token.replacen(keys::KEY_PREFIX, "plimadm_", 1)), true))
            .map_err(|error| StartError::Io(format!("no randomness for the admin token: {error}"))),
    }
}

fn notes(gateway: &Gateway, generated: bool, token: &SecretString) -> Vec<String> {
    let mut notes = Vec::new();
    if generated {
        notes.push(format!("admin token (made for this run, shown once): {}", token.expose_secret()));
    }
    if gateway.ledger.opened_after_crash() {
        notes.push("the last run did not end cleanly: rows of its last moments may be missing".to_owned());
    }
    let doubted = gateway.ledger.doubted_leases();
    if doubted > 0 {
        notes.push(format!("{doubted} leases of the last run are in doubt: `plimsoll ledger in-doubt` lists them"));
    }
    let snapshot = gateway.control.load();
    for section in snapshot.policy.not_in_force() {
        notes.push(format!("`{section}` is valid and not yet in force"));
    }
    notes.extend(gateway.control.last_reload().diagnostics.iter().map(diagnostic::Diagnostic::one_line));
    notes
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Small things on a slow timer.
async fn chores(gateway: Arc<Gateway>, certificate: Option<Arc<Certificate>>, stopped: watch::Receiver<bool>) {
    let mut seen = certificate.as_ref().and_then(|certificate| certificate.changed_at());
    let (mut look, mut due) = (tokio::time::interval(LOOK_EVERY), tokio::time::interval(CHORES_EVERY));
    let stopped = until(stopped);
    tokio::pin!(stopped);
    let (mut ledger, mut exceptions) = (LedgerWatch::new(), ExpiryWatch::default());
    loop {
        tokio::select! {
            () = &mut stopped => return,
            _ = look.tick() => {
                ledger.look(&gateway);
                exceptions.look(&gateway);
                continue;
            }
            _ = due.tick() => {}
        }
        gateway.pace.forget_idle(gateway.clock.now());
        gateway.lines.forget_empty();
        let now = gateway.clock.now();
        gateway.presences.retain(|_, one| Arc::strong_count(one) > 1 || one.remembers_today(now));
        gateway.retries.forget_old(now);
        if let Some(replays) = &gateway.replays {
            replays.forget_old(now);
        }
        forget_closed_windows(&gateway);
        if let Some(certificate) = &certificate {
            let now = certificate.changed_at();
            if now.is_some() && now != seen {
                seen = now;
                match certificate.reload() {
                    Ok(()) => tracing::info!("the certificate was replaced"),
                    Err(error) => tracing::error!(%error, "the new certificate is not usable; the old one stays"),
                }
            }
        }
    }
}

/// Counters that nobody asked for since before every open window hold nothing that still counts.
fn forget_closed_windows(gateway: &Gateway) {
    let snapshot = gateway.control.load();
    let now = gateway.clock.now();
    let policy = &snapshot.policy;
    let budgets: HashMap<&str, usize> =
        policy.budgets.iter().enumerate().map(|(at, budget)| (&*budget.identity, at)).collect();
    gateway.meter.forget_idle(|identity| Some(policy.counts_from(*budgets.get(identity)?, now)));
}

fn note_delivery(target: &str, outcome: Delivery) {
    match outcome {
        Delivery::Delivered | Delivery::Retried => {}
        Delivery::Failed => tracing::warn!(target, "a notification was given up"),
        Delivery::Dropped => tracing::warn!(target, "a notification was dropped: too many are waiting"),
    }
}

fn note_reload(gateway: &Gateway, outcome: &Outcome) {
    gateway.metrics.policy_loaded(outcome.is_ok(), gateway.clock.now().seconds());
    match outcome {
        Ok(snapshot) => tracing::info!(revision = %snapshot.revision, "the policy is in force"),
        Err(broken) => {
            let faults: Vec<String> = broken.diagnostics.iter().map(diagnostic::Diagnostic::one_line).collect();
            tracing::error!("the policy was not loaded, the last good one stays: {}", faults.join("; "));
        }
    }
}
