//! The data plane's door: one listener and one single-threaded runtime per core, limits, and a drain that lets streams
//! finish.
//!
//! Listeners share the port (`SO_REUSEPORT`). A connection belongs to one core for life, that of the listener or one that had
//! fewer when it came, and nothing on its path is shared with another.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::guard::{Conduct, Deadlines, Guarded};
use super::outbox::Gathered;
use super::spread::{Handed, Seat, Spread, spread};
use super::tap::Answer;
use super::{Gateway, Worker};

/// Requests after which a connection is closed, so that long-lived clients spread over cores and replicas.
const REQUESTS_PER_CONNECTION: u32 = 10_000;
/// And the age.
const CONNECTION_AGE: Duration = Duration::from_hours(1);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const BACKLOG: i32 = 1_024;
/// The most that is read from a connection at once. hyper reads as much only where long bodies have come
/// before. A body that comes in one read is judged and sent on where it lies; one that comes in several is joined first. As much
/// may wait for a client that does not read, and a head that does not end may take as much until its deadline.
const AT_ONCE: usize = 128 * 1024;

/// The data plane while it runs.
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<Option<Duration>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, lets calls in flight finish for at most `grace`, and returns when every core has stopped.
    pub fn stop(self, grace: Duration) {
        let _ = self.stop.send(Some(grace));
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Opens the data plane on `cores` threads.
pub fn start(
    gateway: &Arc<Gateway>,
    listen: SocketAddr,
    tls: Option<&TlsAcceptor>,
    cores: usize,
) -> io::Result<Running> {
    claim(listen)?;
    let first = bind(listen)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..cores.max(1) {
        sockets.push(bind(address)?);
    }
    let (stop, stopped) = watch::channel(None);
    let (spread, inboxes) = spread(sockets.len());
    let mut threads = Vec::with_capacity(sockets.len());
    for (core, (socket, inbox)) in sockets.into_iter().zip(inboxes).enumerate() {
        let door = Door {
            gateway: Arc::clone(gateway),
            tls: tls.cloned(),
            core,
            spread: Arc::clone(&spread),
            stopped: stopped.clone(),
        };
        let (opened, open) = std::sync::mpsc::sync_channel(1);
        let name = format!("plimsoll-{core}");
        threads.push(std::thread::Builder::new().name(name).spawn(move || {
            // A runtime that runs tasks of its own thread only must be made on it.
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    let _ = opened.send(Ok(()));
                    runtime.block_on(door.run(socket, inbox));
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        })?);
        open.recv().map_err(io::Error::other)??;
    }
    Ok(Running { address, stop, threads })
}

/// Fails when another process listens there: sharing the port is for our own cores, and two gateways that split the traffic
/// would split the budgets too.
fn claim(listen: SocketAddr) -> io::Result<()> {
    let probe = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    probe.bind(&listen.into())
}

fn bind(listen: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

struct Door {
    gateway: Arc<Gateway>,
    tls: Option<TlsAcceptor>,
    core: usize,
    spread: Arc<Spread>,
    stopped: watch::Receiver<Option<Duration>>,
}

impl Door {
    async fn run(self, socket: std::net::TcpListener, mut inbox: UnboundedReceiver<Handed>) {
        let worker = Worker::new(Arc::clone(&self.gateway));
        drop(tokio::task::spawn_local(Rc::clone(&worker.outbox).run()));
        let graceful = GracefulShutdown::new();
        let Ok(listener) = TcpListener::from_std(socket) else { return };
        let grace = self.accept_until_stopped(&listener, &mut inbox, &worker, &graceful).await;
        inbox.close();
        while let Ok(handed) = inbox.try_recv() {
            self.take_in(handed, &worker, &graceful);
        }
        drop(listener);
        worker.tasks.close();
        let finished = async {
            graceful.shutdown().await;
            worker.tasks.wait().await;
        };
        if tokio::time::timeout(grace, finished).await.is_err() {
            tracing::warn!("calls were still in flight when the grace period ended");
        }
    }

    async fn accept_until_stopped(
        &self,
        listener: &TcpListener,
        inbox: &mut UnboundedReceiver<Handed>,
        worker: &Rc<Worker>,
        graceful: &GracefulShutdown,
    ) -> Duration {
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                _ = stopped.changed() => {
                    return (*stopped.borrow()).unwrap_or_default();
                }
                accepted = listener.accept() => match accepted {
                    Ok((tcp, peer)) => self.seat(tcp, peer, worker, graceful),
                    // Out of descriptors or memory: wait for some to come back rather than spin.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(handed) = inbox.recv() => self.take_in(handed, worker, graceful),
            }
        }
    }

    /// Keeps a connection, or hands it over to a core that has fewer.
    fn seat(&self, tcp: TcpStream, peer: SocketAddr, worker: &Rc<Worker>, graceful: &GracefulShutdown) {
        let seat = self.spread.seat(self.core);
        if self.spread.connections() > self.gateway.options.limits.connections || tcp.set_nodelay(true).is_err() {
            return;
        }
        if seat.core == self.core {
            self.admit(tcp, (peer, seat), worker, graceful);
        } else if let Ok(tcp) = tcp.into_std()
            && let Some(handed) = self.spread.hand_over(Handed { tcp, peer, seat })
        {
            self.take_in(handed, worker, graceful);
        }
    }

    /// Serves a connection that another core accepted.
    fn take_in(&self, handed: Handed, worker: &Rc<Worker>, graceful: &GracefulShutdown) {
        let Handed { tcp, peer, seat } = handed;
        if let Ok(tcp) = TcpStream::from_std(tcp) {
            self.admit(tcp, (peer, seat), worker, graceful);
        }
    }

    fn admit(
        &self,
        tcp: TcpStream,
        (peer, seat): (SocketAddr, Seat),
        worker: &Rc<Worker>,
        graceful: &GracefulShutdown,
    ) {
        let client = Client { worker: Rc::clone(worker), peer, seat };
        let watcher = graceful.watcher();
        let tcp = Gathered::new(tcp, Rc::clone(&worker.outbox));
        match self.tls.clone() {
            None => {
                worker.tasks.spawn_local(client.serve(tcp, watcher));
            }
            Some(acceptor) => {
                worker.tasks.spawn_local(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(tcp)).await {
                        client.serve(stream, watcher).await;
                    }
                });
            }
        }
    }
}

/// One client's connection.
struct Client {
    worker: Rc<Worker>,
    peer: SocketAddr,
    seat: Seat,
}

impl Client {
    async fn serve<S>(self, stream: S, watcher: hyper_util::server::graceful::Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Self { worker, peer, seat } = self;
        let limits = &worker.gateway.options.limits;
        let deadlines = Deadlines { head: limits.header_timeout, idle: limits.idle_timeout };
        let conduct = Conduct::new();
        let stream = TokioIo::new(Guarded::new(stream, conduct.clone(), deadlines));
        let opened = Instant::now();
        let service = service_fn(move |request| {
            let (worker, conduct) = (Rc::clone(&worker), conduct.clone());
            async move {
                let http1 = request.version() < http::Version::HTTP_2;
                let served = conduct.begin();
                let mut response = worker.serve(request, peer.ip()).await;
                if http1 {
                    finish(
                        &mut response,
                        &conduct,
                        served > REQUESTS_PER_CONNECTION || opened.elapsed() > CONNECTION_AGE,
                    );
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let builder = protocol();
        let connection = builder.serve_connection(stream, service);
        // A broken connection is the client's affair: its calls have been settled where they ended.
        let _ = watcher.watch(connection).await;
        drop(seat);
    }
}

/// Tells the connection when this answer is over, and closes it gracefully when it has served enough.
fn finish(response: &mut http::Response<Answer>, conduct: &Conduct, enough: bool) {
    if enough {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    match response.body_mut() {
        Answer::Theirs(tapped) => tapped.conduct = Some(conduct.clone()),
        Answer::Ours(_) => conduct.end(),
    }
}

/// HTTP/1.1 and HTTP/2 with every limit set on purpose.
fn protocol() -> auto::Builder<OnThisCore> {
    let mut builder = auto::Builder::new(OnThisCore);
    // `Guarded` keeps the head's deadline: hyper's counts idle time too.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_headers(64).max_buf_size(AT_ONCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .max_header_list_size(16 * 1024)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(128 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Runs HTTP/2 streams where their connection lives.
#[derive(Debug, Clone, Copy)]
struct OnThisCore;

impl<F> hyper::rt::Executor<F> for OnThisCore
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        // Owned by the connection: hyper cancels it when the connection ends.
        drop(tokio::task::spawn_local(async move {
            future.await;
        }));
    }
}
