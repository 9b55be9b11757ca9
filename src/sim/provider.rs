//! The server: takes connections, keeps what it saw, and sends what the script, a canned answer or a fault says.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bill::{BillLine, Book, Seen, Totals};
use super::body::{Paced, Piece};
use super::canned::{Canned, End, Framing};
use super::fast::Prebuilt;
use super::script::{Fault, Script};
use super::wire::Wire;

/// The request header that names a canned answer.
const REPLAY: &str = "x-sim-replay";
/// The request header whose value stands on the bill.
const NONCE: &str = "x-sim-nonce";

/// A running scripted provider. It stops when it is dropped.
#[derive(Debug)]
pub struct Provider {
    desk: Arc<Desk>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) script: Script,
    pub(super) book: Arc<Book>,
    prebuilt: Option<Prebuilt>,
    replays: Mutex<HashMap<String, Canned>>,
    turns: Mutex<VecDeque<Turn>>,
    served: AtomicU64,
}

/// What one of the next requests gets, whatever it asks for.
#[derive(Debug)]
enum Turn {
    Canned(Box<Canned>),
    Fault(Fault),
}

/// A poisoned lock guards plain lists, which are never half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Provider {
    /// Listens on a free loopback port, on the runtime that calls.
    ///
    /// # Errors
    /// When the operating system gives no socket.
    pub async fn start(script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let prebuilt = script.prebuilt.then(|| Prebuilt::new(&script));
        let desk = Arc::new(Desk {
            script,
            book: Arc::default(),
            prebuilt,
            replays: Mutex::default(),
            turns: Mutex::default(),
            served: AtomicU64::new(0),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let accept = accept(listener, Arc::clone(&desk), stop.clone(), tasks.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(accept));
        Ok(Self { desk, address, stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its root, such as `http://127.0.0.1:40123`: all three dialects live below it, by path.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bill: one line per request that reached it, in order of arrival. Empty for prebuilt answers, see [`Self::totals`].
    pub fn bill(&self) -> Vec<BillLine> {
        self.desk.book.lines()
    }

    /// The sums of the bill, prebuilt answers included.
    pub fn totals(&self) -> Totals {
        self.desk.book.totals()
    }

    /// Everything that reached it, byte for byte.
    pub fn requests(&self) -> Vec<Seen> {
        self.desk.book.seen()
    }

    /// Forgets the bill, the requests and everything that was enqueued or registered.
    pub fn clear(&self) {
        self.desk.book.clear();
        lock(&self.desk.replays).clear();
        lock(&self.desk.turns).clear();
    }

    /// The next request that names no answer itself gets this one. First in, first out.
    pub fn enqueue(&self, canned: Canned) {
        lock(&self.desk.turns).push_back(Turn::Canned(Box::new(canned)));
    }

    /// The next request fails so. Stands in one queue with [`Self::enqueue`].
    pub fn fail_next(&self, fault: Fault) {
        lock(&self.desk.turns).push_back(Turn::Fault(fault));
    }

    /// Every request whose `x-sim-replay` header, or else whose path without query, is `key` gets this answer.
    pub fn replay(&self, key: impl Into<String>, canned: Canned) {
        lock(&self.desk.replays).insert(key.into(), canned);
    }

    /// Stops and waits until every connection is closed and every line of the bill is settled.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Takes connections until it is dropped, and all connections with it are cancelled by the same token.
async fn accept(listener: TcpListener, desk: Arc<Desk>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        // Without free file descriptors every accept fails at once: the pause keeps the loop from eating a core.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(connection(stream, Arc::clone(&desk))));
    }
}

async fn connection(stream: TcpStream, desk: Arc<Desk>) {
    // Without it small events would wait for each other; where it fails they only come later.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Wire::new(stream, Arc::clone(&reset));
    let service = service_fn(move |request| answer(Arc::clone(&desk), request, Arc::clone(&reset)));
    // Cuts and clients that leave end as errors here; both are in the bill.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(wire), service).await;
}

async fn answer(
    desk: Arc<Desk>,
    request: Request<Incoming>,
    reset: Arc<AtomicBool>,
) -> Result<Response<Paced>, Infallible> {
    desk.book.count_request();
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(plain(StatusCode::BAD_REQUEST, Bytes::new()));
    };
    let body = body.to_bytes();
    if let Some(prebuilt) = &desk.prebuilt
        && parts.uri.path() == "/v1/chat/completions"
    {
        return Ok(fixed(&desk, prebuilt, &body));
    }
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    desk.book.saw(Seen { method: parts.method.clone(), path, headers: parts.headers.clone(), body: body.clone() });
    let fault = match desk.turn(&parts.headers, parts.uri.path()) {
        Some(Turn::Canned(canned)) => return Ok(desk.send_canned(*canned, &parts, reset).await),
        Some(Turn::Fault(fault)) => Some(fault),
        None => None,
    };
    Ok(super::speak::speak(&desk, &parts, &body, fault, reset).await)
}

impl Desk {
    fn turn(&self, headers: &HeaderMap, path: &str) -> Option<Turn> {
        let named = headers.get(REPLAY).and_then(|name| name.to_str().ok());
        let replays = lock(&self.replays);
        let canned = named.and_then(|name| replays.get(name)).or_else(|| replays.get(path));
        if let Some(canned) = canned {
            return Some(Turn::Canned(Box::new(canned.clone())));
        }
        drop(replays);
        lock(&self.turns).pop_front()
    }

    /// Different for each request, the same in each run.
    pub(super) fn seed(&self, body: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.script.seed, self.served.fetch_add(1, Ordering::Relaxed), body).hash(&mut hasher);
        hasher.finish()
    }

    async fn send_canned(
        &self,
        canned: Canned,
        parts: &http::request::Parts,
        reset: Arc<AtomicBool>,
    ) -> Response<Paced> {
        let status = StatusCode::from_u16(canned.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let length: usize = canned.chunks.iter().map(Bytes::len).sum();
        let path = parts.uri.path().to_owned();
        let nothing = BillLine { path, status: canned.status, finished: true, ..BillLine::default() };
        let line = BillLine { nonce: nonce(&parts.headers), ..canned.bill.unwrap_or(nothing) };
        let tab = self.book.open(line, self.script.bills_after_cancel);
        tokio::time::sleep(canned.delay).await;
        let pieces = canned.chunks.into_iter().enumerate().map(|(at, bytes)| Piece {
            wait: if at == 0 { Duration::ZERO } else { canned.gap },
            bytes,
            tokens: 0,
        });
        let exact = (canned.framing == Framing::Length).then(|| u64::try_from(length).unwrap_or(u64::MAX));
        // A cut body announces more than it sends, or its end would look clean.
        let exact = exact.map(|exact| if canned.end == End::Clean { exact } else { exact.saturating_add(1) });
        let mut response = Response::new(Paced::new(pieces.collect(), canned.end, exact, reset).with_tab(tab));
        *response.status_mut() = status;
        for (name, value) in &canned.headers {
            put(response.headers_mut(), name, value);
        }
        response
    }
}

/// What a request calls itself.
pub(super) fn nonce(headers: &HeaderMap) -> String {
    headers.get(NONCE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Adds a header that HTTP can carry; hyper frames the body itself.
pub(super) fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else { return };
    if name != header::TRANSFER_ENCODING && name != header::CONTENT_LENGTH {
        headers.append(name, value);
    }
}

fn plain(status: StatusCode, bytes: Bytes) -> Response<Paced> {
    let mut response = Response::new(Paced::whole(bytes));
    *response.status_mut() = status;
    response
}

fn fixed(desk: &Desk, prebuilt: &Prebuilt, body: &[u8]) -> Response<Paced> {
    let fixed = prebuilt.answer(body);
    desk.book.count_fast(fixed.input, fixed.output);
    let mut response = if fixed.streamed {
        let piece = Piece { bytes: fixed.bytes.clone(), ..Piece::default() };
        Response::new(Paced::new(vec![piece], End::Clean, None, Arc::default()))
    } else {
        plain(StatusCode::OK, fixed.bytes.clone())
    };
    let kind = if fixed.streamed { "text/event-stream; charset=utf-8" } else { "application/json" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
