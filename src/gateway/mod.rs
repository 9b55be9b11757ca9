//! The request path: one call goes up the stairs once and comes down once.
//!
//! Every core runs a `Worker` of its own: its listener, its upstream connections, its handles to counters. Workers share
//! the [`Gateway`]: options, the running snapshot, the meter, the ledger's queue. Nothing here waits for the ledger, and a
//! fault of ours never changes a byte of an answer that has begun.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use http::HeaderMap;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use crate::alert::courier::Courier;
use crate::control::Control;
use crate::domain::clock::Clock;
use crate::ledger::Ledger;
use crate::meter::Meter;
use crate::meter::pace::Pace;
use crate::telemetry::Metrics;

mod account;
mod admit;
mod announce;
mod bill;
mod call;
pub mod certificate;
mod counting;
mod exposed;
mod forward;
mod guard;
pub mod identify;
mod intake;
pub mod keys;
mod line;
mod link;
pub mod listen;
mod outbox;
pub mod panics;
mod pool;
mod quota;
mod refuse;
mod replay;
mod reply;
mod retries;
mod rewrite;
mod route;
mod serve;
mod settle;
mod source;
mod spread;
mod tap;
pub mod upstream;
mod users;
mod verdict;
mod watching;

use account::{Accounts, Presences};
use identify::AttributionRules;
use keys::KeyRing;
pub use line::Lines;
use link::{Landing, Link};
use outbox::Outbox;
use pool::Pool;
pub use replay::{ReplayRules, Replays};
pub use retries::Retries;
use upstream::Provider;

/// Limits of the data plane. Every one is set here on purpose; none is inherited from a library.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest request body, in bytes.
    pub body: u64,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a kept-alive connection may idle.
    pub idle_timeout: Duration,
    /// How long a provider may take until the head of its answer.
    pub first_byte_timeout: Duration,
    /// How long a provider may be silent in the middle of an answer.
    pub silence_timeout: Duration,
    /// How long one answer may take in all, from its head to its end.
    pub answer_timeout: Duration,
    /// How long an answer whose client has gone is read on, so that what the provider bills is known.
    pub drain_for: Duration,
    /// And how many bytes of it.
    pub drain_bytes: u64,
    /// How many answers of one tenant are read on without their clients at once.
    pub drains_per_tenant: u32,
    /// Calls of one tenant in flight at once.
    pub streams_per_tenant: u32,
    /// User ids that one tenant may name on one day, where a budget counts users.
    pub users_per_tenant: usize,
    /// Client connections at once, over all cores.
    pub connections: usize,
    /// How long calls in flight may take after the word to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 * 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(5),
            first_byte_timeout: Duration::from_mins(10),
            silence_timeout: Duration::from_mins(5),
            answer_timeout: Duration::from_hours(1),
            drain_for: Duration::from_mins(10),
            drain_bytes: 256 * 1024 * 1024,
            drains_per_tenant: 100,
            streams_per_tenant: 1_000,
            users_per_tenant: 100_000,
            connections: 20_000,
            grace: Duration::from_secs(30),
        }
    }
}

/// Who may be believed without a key, by address prefix.
#[derive(Debug, Clone)]
pub struct TrustedNetwork {
    /// The network's address.
    pub address: std::net::IpAddr,
    /// Its length in bits.
    pub bits: u8,
}

impl TrustedNetwork {
    /// Whether `peer` is in the network.
    pub fn holds(&self, peer: std::net::IpAddr) -> bool {
        let prefix = |address: std::net::IpAddr| match address.to_canonical() {
            std::net::IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
            std::net::IpAddr::V6(v6) => (v6.to_bits(), false),
        };
        let ((network, four), (peer, peer_four)) = (prefix(self.address), prefix(peer));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits.min(128))).unwrap_or(0);
        four == peer_four && network & mask == peer & mask
    }
}

/// Providers by name.
pub type Providers = HashMap<Arc<str>, Arc<Provider>, RandomState>;

/// What the configuration says about the data plane.
pub struct Options {
    /// Limits and deadlines.
    pub limits: Limits,
    /// Providers by name.
    pub providers: Providers,
    /// Gateway keys; empty: callers bring their provider's own.
    pub keys: KeyRing,
    /// How calls are attributed.
    pub attribution: AttributionRules,
    /// Networks that may name tenants when there are no keys.
    pub trusted_networks: Vec<TrustedNetwork>,
    /// Whether and how finished answers are given again.
    pub replay: Option<ReplayRules>,
}

/// What all cores share.
pub struct Gateway {
    /// The configuration's part.
    pub options: Options,
    /// The running snapshot.
    pub control: Arc<Control>,
    /// The live counters.
    pub meter: Arc<Meter>,
    /// The live rates.
    pub pace: Arc<Pace>,
    /// The calls that wait for one.
    pub lines: Lines,
    /// Where attempts are written.
    pub ledger: Ledger,
    /// Counts for Prometheus.
    pub metrics: Arc<Metrics>,
    /// Carries notifications.
    pub courier: Arc<Courier>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// TLS towards providers.
    pub tls: TlsConnector,
    /// Calls in flight and today's users by tenant.
    pub presences: Presences,
    /// Which attempts belong together.
    pub retries: Retries,
    /// Answers that may be given again; `None`: none ever.
    pub replays: Option<Replays>,
}

type SharedPool = Rc<RefCell<Pool>>;

/// One core's share of the gateway.
pub(super) struct Worker {
    gateway: Arc<Gateway>,
    /// By the providers' names, of which there are few.
    pools: RefCell<Vec<(Arc<str>, SharedPool)>>,
    accounts: RefCell<Accounts>,
    /// What waits to be written.
    outbox: Rc<Outbox>,
    /// Where answers are read into.
    landing: Landing,
    /// Owns what outlives a request: drains of abandoned answers.
    tasks: TaskTracker,
}

impl Worker {
    fn new(gateway: Arc<Gateway>) -> Rc<Self> {
        Rc::new(Self {
            gateway,
            pools: RefCell::default(),
            accounts: RefCell::default(),
            outbox: Rc::default(),
            landing: Landing::default(),
            tasks: TaskTracker::new(),
        })
    }

    fn pool(&self, provider: &Arc<str>) -> SharedPool {
        let mut pools = self.pools.borrow_mut();
        if let Some((_, pool)) = pools.iter().find(|(name, _)| name == provider) {
            return Rc::clone(pool);
        }
        let pool = Rc::default();
        pools.push((Arc::clone(provider), Rc::clone(&pool)));
        pool
    }

    fn put_back(&self, provider: &Arc<str>, link: Link) {
        self.pool(provider).borrow_mut().put(link);
    }

    /// Whether a peer may name tenants without a key.
    fn trusts(&self, peer: std::net::IpAddr) -> bool {
        self.gateway.options.trusted_networks.iter().any(|network| network.holds(peer))
    }
}

/// Whether a request asks for another protocol.
fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    // Clients offer `h2c` in passing; not taking it up is the answer to that.
    let wanted = headers.get(http::header::UPGRADE);
    wanted.is_some_and(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
}
