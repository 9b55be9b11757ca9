//! The load generator at a fixed rate, open loop: a request is due at its own time whether or not those before it have been
//! answered, and its latency counts from then. A slow answer therefore cannot hide the wait of those behind it (coordinated
//! omission). Where the connection was free and only the timer woke late, latency counts from the writing: that delay is the
//! generator's own.
//!
//! Blocking sockets on threads: at a thousand requests a second a blocked read wakes sooner and more evenly than a runtime whose
//! timers tick in milliseconds.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::answer::{Answer, Fault};
use super::load::{Order, READ_AT_MOST, name_tenant, scattered};

/// Connections, and threads, that share the rate.
const LANES: u32 = 32;
/// After so long an answer counts as failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Latencies in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    /// To the last byte.
    pub(super) whole: Histogram<u64>,
    /// To the first byte of the body.
    pub(super) first: Histogram<u64>,
    pub(super) errors: u64,
    pub(super) first_fault: Option<Fault>,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self { whole: histogram(), first: histogram(), errors: 0, first_fault: None }
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that nothing can be out of range.
        let _ = self.whole.add(&other.whole);
        let _ = self.first.add(&other.first);
        self.errors += other.errors;
        self.first_fault = self.first_fault.or(other.first_fault);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("1 µs to 60 s in three digits are legal bounds")
}

/// `rate` requests per second for so long.
pub(super) fn measure(order: &Order, rate: u64, length: Duration) -> Latencies {
    let mut all = Latencies::new();
    // All lanes are connected before the first request is due.
    let started = Instant::now() + Duration::from_millis(100);
    let beat = Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let mut lane = Lane { order: order.clone(), tcp: None, request: order.bytes.to_vec(), number: lane };
            std::thread::spawn(move || lane.run(started, beat, length))
        })
        .collect();
    for lane in lanes {
        if let Ok(latencies) = lane.join() {
            all.add(&latencies);
        }
    }
    all
}

struct Lane {
    order: Order,
    tcp: Option<TcpStream>,
    request: Vec<u8>,
    number: u32,
}

impl Lane {
    fn run(&mut self, started: Instant, beat: Duration, length: Duration) -> Latencies {
        let mut latencies = Latencies::new();
        let mut buffer = vec![0; READ_AT_MOST];
        let mut nth = self.number;
        while let Some(offset) = beat.checked_mul(nth).filter(|offset| *offset < length) {
            let due = started + offset;
            if let Some((at, tenants)) = self.order.tenants {
                name_tenant(&mut self.request, at, scattered(u64::from(nth), tenants));
            }
            let from = self.wait_until(due);
            match self.exchange(&mut buffer) {
                Ok(first) => {
                    record(&mut latencies.first, first.saturating_duration_since(from));
                    record(&mut latencies.whole, from.elapsed());
                }
                Err(fault) => {
                    self.tcp = None;
                    latencies.errors += 1;
                    latencies.first_fault.get_or_insert(fault);
                }
            }
            nth += LANES;
        }
        latencies
    }

    /// Connects if need be, waits, and says from when latency counts.
    fn wait_until(&mut self, due: Instant) -> Instant {
        if self.tcp.is_none() {
            self.tcp = connect(&self.order).ok();
        }
        let early = due.saturating_duration_since(Instant::now());
        if early.is_zero() {
            return due;
        }
        std::thread::sleep(early);
        Instant::now()
    }

    fn exchange(&mut self, buffer: &mut [u8]) -> Result<Instant, Fault> {
        let Some(tcp) = &mut self.tcp else { return Err(Fault::Closed) };
        tcp.write_all(&self.request)?;
        let mut answer = Answer::new(self.order.streamed);
        let mut first = None;
        loop {
            let read = tcp.read(buffer)?;
            if read == 0 {
                return Err(Fault::Closed);
            }
            let whole = answer.feed(buffer.get(..read).unwrap_or_default())?;
            if first.is_none() && answer.body() > 0 {
                first = Some(Instant::now());
            }
            if whole {
                break;
            }
        }
        if answer.closes() {
            self.tcp = None;
        }
        Ok(first.unwrap_or_else(Instant::now))
    }
}

fn connect(order: &Order) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(order.address)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(ANSWER_WITHIN))?;
    tcp.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(tcp)
}

fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}
