//! The load generator at saturation: a request that was rendered once goes out as often as the answers come back. Raw sockets,
//! on threads that the provider uses too, and nothing per request but a write, the reads and a look at the answer.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};

use super::answer::{Answer, Fault};

/// Bytes that one read takes at most: a whole burst of 64 events.
pub(super) const READ_AT_MOST: usize = 32 * 1_024;
/// How long calls in flight may take after the word to stop.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One kind of request, rendered for one target.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) address: SocketAddr,
    pub(super) bytes: Arc<[u8]>,
    pub(super) streamed: bool,
    /// Where six digits of the tenant's name stand, and how many tenants take turns.
    pub(super) tenants: Option<(usize, u64)>,
}

/// What all connections of a run count together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    events: AtomicU64,
    errors: AtomicU64,
    first_fault: Mutex<Option<Fault>>,
}

impl Tally {
    pub(super) fn answered(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, fault: Fault) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.first_fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Events of streams, those that still run among them.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub(super) fn first_fault(&self) -> Option<Fault> {
        *self.first_fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that goes on until it is stopped.
pub(super) struct Load {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    drivers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `connections` connections, spread over `cores`.
    pub(super) fn start(order: &Order, connections: usize, cores: &[Handle]) -> Self {
        let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let drivers = cores.iter().enumerate().map(|(at, core)| {
            let lanes = (at..connections).step_by(cores.len()).collect();
            core.spawn(drive(order.clone(), (lanes, connections), Arc::clone(&tally), Arc::clone(&stop)))
        });
        Self { drivers: drivers.collect(), tally, stop }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// No call begins any more.
    pub(super) fn last_calls(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Lets the calls in flight finish and returns what was counted in all.
    pub(super) fn stop(self) -> Arc<Tally> {
        self.last_calls();
        while !self.drivers.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(LOOK_EVERY);
        }
        self.tally
    }
}

async fn drive(order: Order, (lanes, all): (Vec<usize>, usize), tally: Arc<Tally>, stop: Arc<AtomicBool>) {
    let mut connections = JoinSet::new();
    for lane in lanes {
        let place = (lane, u64::try_from(all).unwrap_or(1));
        connections.spawn(repeat(order.clone(), place, Arc::clone(&tally), Arc::clone(&stop)));
    }
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_ANSWERS_WITHIN, all).await.is_err() {
        tally.failed(Fault::Unfinished);
    }
}

/// One connection: request upon request, and a new connection when the other side closes it.
async fn repeat(order: Order, (lane, lanes): (usize, u64), tally: Arc<Tally>, stop: Arc<AtomicBool>) {
    let mut request = order.bytes.to_vec();
    let mut turn = u64::try_from(lane).unwrap_or(0);
    let mut wire = None;
    let mut buffer = vec![0; READ_AT_MOST];
    while !stop.load(Ordering::Relaxed) {
        if let Some((at, tenants)) = order.tenants {
            name_tenant(&mut request, at, scattered(turn, tenants));
            turn += lanes;
        }
        match exchange(&mut wire, &order, &request, (&mut buffer, &tally)).await {
            Ok(()) => tally.answered(),
            Err(fault) => {
                wire = None;
                tally.failed(fault);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}

/// The tenant whose turn it is: all have theirs before the first has it again, and neighbours in time are none in number.
pub(super) fn scattered(turn: u64, tenants: u64) -> u64 {
    const STEP: u64 = 7_919; // a prime
    turn.wrapping_mul(STEP) % tenants
}

/// Writes a tenant's number over the six digits at `at`.
pub(super) fn name_tenant(request: &mut [u8], at: usize, tenant: u64) {
    let digits = format!("{tenant:06}");
    if let Some(place) = request.get_mut(at..at + digits.len()) {
        place.copy_from_slice(digits.as_bytes());
    }
}

async fn exchange(
    wire: &mut Option<TcpStream>,
    order: &Order,
    request: &[u8],
    (buffer, tally): (&mut [u8], &Tally),
) -> Result<(), Fault> {
    let mut tcp = match wire.take() {
        Some(tcp) => tcp,
        None => connect(order.address).await?,
    };
    tcp.write_all(request).await?;
    let mut answer = Answer::new(order.streamed);
    loop {
        let read = tcp.read(buffer).await?;
        if read == 0 {
            return Err(Fault::Closed);
        }
        let events = answer.events();
        let whole = answer.feed(buffer.get(..read).unwrap_or_default())?;
        tally.events.fetch_add(answer.events() - events, Ordering::Relaxed);
        if whole {
            break;
        }
    }
    if !answer.closes() {
        *wire = Some(tcp);
    }
    Ok(())
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tenants_have_their_turn() {
        let mut seen: Vec<u64> = (0..1_000).map(|turn| scattered(turn, 1_000)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1_000).collect::<Vec<u64>>());
    }
}
