//! The load generator: closed loop for saturation, open loop for latency. In the open loop a request is due at its own
//! time whether or not the one before has been answered, and its latency counts from then, so a slow answer cannot hide the
//! wait of those behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections of the open loop.
const PACED_CONNECTIONS: u64 = 32;

/// One kind of request to one target.
pub(super) struct Load {
    address: SocketAddr,
    request: Arc<(String, Bytes, Option<String>)>,
}

/// What a run measured.
pub(super) struct Figures {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) elapsed: Duration,
    pub(super) cpu_per_request: Option<Duration>,
    pub(super) latency: Histogram<u64>,
}

impl Figures {
    pub(super) fn per_second(&self) -> u64 {
        u64::try_from(u128::from(self.requests) * 1_000 / self.elapsed.as_millis().max(1)).unwrap_or(u64::MAX)
    }

    /// In microseconds.
    pub(super) fn quantile(&self, quantile: f64) -> u64 {
        self.latency.value_at_quantile(quantile)
    }

    pub(super) fn row(&self, scenario: &str, target: &str) -> String {
        let cpu = self
            .cpu_per_request
            .map_or_else(|| "–".to_owned(), |cpu| format!("{}.{}", cpu.as_micros(), cpu.subsec_nanos() % 1_000 / 100));
        format!(
            "{scenario:<22} {target:<10} {:>8} {cpu:>12} {:>9} {:>9} {:>9} {:>9}",
            self.per_second(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.999),
            self.errors
        )
    }
}

impl Load {
    pub(super) fn new(address: SocketAddr, path: &str, body: &[u8], key: Option<&str>) -> Self {
        let request = (path.to_owned(), Bytes::copy_from_slice(body), key.map(str::to_owned));
        Self { address, request: Arc::new(request) }
    }

    /// As many requests as `connections` can carry.
    pub(super) async fn saturate(&self, connections: usize, length: Duration) -> io::Result<Figures> {
        let count = Arc::new(AtomicU64::new(0));
        let errors = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for _ in 0..connections {
            let mut wire = Wire::open(self.address).await?;
            let (request, count, errors) = (Arc::clone(&self.request), Arc::clone(&count), Arc::clone(&errors));
            tasks.spawn(async move {
                while started.elapsed() < length {
                    if wire.exchange(&request).await {
                        count.fetch_add(1, Ordering::Relaxed);
                    } else {
                        errors.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        Ok(Figures {
            requests: count.load(Ordering::Relaxed),
            errors: errors.load(Ordering::Relaxed),
            elapsed: started.elapsed(),
            cpu_per_request: None,
            latency: histogram(),
        })
    }

    /// `rate` requests per second, each due at its own time.
    pub(super) async fn paced(&self, rate: u64, length: Duration) -> io::Result<Figures> {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for lane in 0..PACED_CONNECTIONS {
            let mut wire = Wire::open(self.address).await?;
            let request = Arc::clone(&self.request);
            tasks.spawn(async move {
                let (mut latency, mut errors) = (histogram(), 0_u64);
                for turn in 0.. {
                    let nth = turn * PACED_CONNECTIONS + lane;
                    let due = started + Duration::from_micros(nth * 1_000_000 / rate.max(1));
                    if due > started + length {
                        break;
                    }
                    tokio::time::sleep_until(due.into()).await;
                    if wire.exchange(&request).await {
                        latency.saturating_record(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
                    } else {
                        errors += 1;
                    }
                }
                (latency, errors)
            });
        }
        let (mut latency, mut errors) = (histogram(), 0);
        while let Some(done) = tasks.join_next().await {
            let (lane, failed) = done.map_err(io::Error::other)?;
            latency.add(lane).map_err(io::Error::other)?;
            errors += failed;
        }
        Ok(Figures { requests: latency.len(), errors, elapsed: started.elapsed(), cpu_per_request: None, latency })
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| Histogram::new(3).expect("three digits are legal"))
}

/// One kept-alive connection.
struct Wire {
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Wire {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its end shows in the sender.
            let _ = connection.await;
        });
        Ok(Self { sender, _connection: driver })
    }

    /// Whether a request was answered with 200 and read to its end.
    async fn exchange(&mut self, request: &(String, Bytes, Option<String>)) -> bool {
        let (path, body, key) = request;
        let mut builder = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "bench")
            .header("content-type", "application/json")
            .header("plimsoll-tenant-id", "globex")
            .header("plimsoll-endpoint-tag", "support.reply");
        if let Some(key) = key {
            builder = builder.header("authorization", format!("Bearer {key}"));
        }
        let Ok(request) = builder.body(Full::new(body.clone())) else { return false };
        if self.sender.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            return false;
        }
        let Ok(response) = self.sender.send_request(request).await else { return false };
        let answered = response.status() == http::StatusCode::OK;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        answered
    }
}
