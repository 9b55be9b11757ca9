//! The provider behind the benchmark: answers are rendered once, requests are read whole and looked at as little as can be.
//! The scripted provider of the demo and the tests is a full HTTP server and would take more of the cores than the gateway.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::sim::fixed_chat;

use super::message::{field, head_length, number};

const BACKLOG: i32 = 4_096;
const ROOM_FOR_A_REQUEST: usize = 4_096;
const LARGEST_REQUEST: usize = 64 * 1_024 * 1_024;

/// A running provider, one thread per core. It stops when it is dropped.
pub(super) struct Provider {
    address: SocketAddr,
    stage: Arc<Stage>,
    stop: watch::Sender<bool>,
    cores: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
}

/// What all connections share.
struct Stage {
    whole: Bytes,
    burst: Bytes,
    burst_with_usage: Bytes,
    events: Vec<Bytes>,
    last_events: Bytes,
    last_events_with_usage: Bytes,
    /// Microseconds between two events of a stream; 0: all at once.
    gap: AtomicU64,
    /// Paced streams come to their end.
    ending: AtomicBool,
}

impl Provider {
    pub(super) fn start(cores: usize) -> io::Result<Self> {
        let mut sockets = vec![listen(SocketAddr::from(([127, 0, 0, 1], 0)))?];
        let address = sockets[0].local_addr()?;
        for _ in 1..cores {
            sockets.push(listen(address)?);
        }
        let stage = Arc::new(Stage::set());
        let (stop, stopped) = watch::channel(false);
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for socket in sockets {
            let (stage, stopped) = (Arc::clone(&stage), stopped.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let thread = std::thread::Builder::new().name("bench".to_owned());
            threads.push(thread.spawn(move || runtime.block_on(accept(socket, stage, stopped)))?);
        }
        Ok(Self { address, stage, stop, cores: handles, threads })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its threads, one per core. The load generator runs on them too: with more threads than the proxy leaves cores for, what
    /// would be measured is how the kernel switches between them.
    pub(super) fn cores(&self) -> &[Handle] {
        &self.cores
    }

    /// Streams that begin from now on have so long between two events and go on until [`Self::end_streams`].
    pub(super) fn pace(&self, gap: Duration) {
        self.stage.ending.store(false, Ordering::Relaxed);
        self.stage.gap.store(u64::try_from(gap.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Paced streams end with their next event; those that begin from now on come at once again.
    pub(super) fn end_streams(&self) {
        self.stage.gap.store(0, Ordering::Relaxed);
        self.stage.ending.store(true, Ordering::Relaxed);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Stage {
    fn set() -> Self {
        let whole = fixed_chat(false, false);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", whole.len());
        let events = split(&fixed_chat(true, true));
        // The finish reason, the usage, `[DONE]`.
        let (said, last) = events.split_at(events.len().saturating_sub(3));
        let [finish, usage, done] = [0, 1, 2].map(|at| last.get(at).cloned().unwrap_or_default());
        Self {
            whole: [head.as_bytes(), &whole].concat().into(),
            burst: stream(&[fixed_chat(true, false)], true),
            burst_with_usage: stream(&[fixed_chat(true, true)], true),
            events: said.iter().map(|event| chunk(event).into()).collect(),
            last_events: [chunk(&[&finish[..], &done].concat()).as_slice(), LAST_CHUNK].concat().into(),
            last_events_with_usage: [chunk(&[&finish[..], &usage, &done].concat()).as_slice(), LAST_CHUNK]
                .concat()
                .into(),
            gap: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        }
    }

    /// Answers one request; an error is a caller that left.
    async fn answer(&self, tcp: &mut TcpStream, body: &[u8]) -> io::Result<()> {
        let start = body.get(..body.len().min(4_096)).unwrap_or_default();
        if !asks(start, b"\"stream\":true") {
            return tcp.write_all(&self.whole).await;
        }
        // Whoever edits the body may do it at either end.
        let usage = asks(body, b"\"include_usage\":true");
        match self.gap.load(Ordering::Relaxed) {
            0 => tcp.write_all(if usage { &self.burst_with_usage } else { &self.burst }).await,
            gap => self.talk(tcp, Duration::from_micros(gap), usage).await,
        }
    }

    async fn talk(&self, tcp: &mut TcpStream, gap: Duration, usage: bool) -> io::Result<()> {
        tcp.write_all(&stream(&[], false)).await?;
        let mut beat = tokio::time::interval(gap);
        for event in self.events.iter().cycle() {
            beat.tick().await;
            if self.ending.load(Ordering::Relaxed) {
                break;
            }
            tcp.write_all(event).await?;
        }
        tcp.write_all(if usage { &self.last_events_with_usage } else { &self.last_events }).await
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn asks(body: &[u8], what: &[u8]) -> bool {
    memmem::find(body, what).is_some()
}

/// The events of a stream, each with its empty line.
fn split(stream: &[u8]) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut start = 0;
    for at in memmem::find_iter(stream, b"\n\n") {
        events.push(Bytes::copy_from_slice(&stream[start..at + 2]));
        start = at + 2;
    }
    events
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The head of a stream, these pieces as one chunk each, and its end if it ends with them.
fn stream(pieces: &[Bytes], ends: bool) -> Bytes {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut bytes = head.as_bytes().to_vec();
    for piece in pieces {
        bytes.extend(chunk(piece));
    }
    if ends {
        bytes.extend_from_slice(LAST_CHUNK);
    }
    bytes.into()
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept(socket: std::net::TcpListener, stage: Arc<Stage>, mut stopped: watch::Receiver<bool>) {
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(serve(tcp, Arc::clone(&stage)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

async fn serve(mut tcp: TcpStream, stage: Arc<Stage>) {
    // Where it fails, small events only come later.
    let _ = tcp.set_nodelay(true);
    let mut bytes = Vec::with_capacity(ROOM_FOR_A_REQUEST);
    while let Some((head, whole)) = request(&mut tcp, &mut bytes).await {
        if stage.answer(&mut tcp, bytes.get(head..whole).unwrap_or_default()).await.is_err() {
            return;
        }
        bytes.drain(..whole);
    }
}

/// Reads until a request is whole: the lengths of its head and of all of it. `None` when the caller left or sends chunks.
async fn request(tcp: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(usize, usize)> {
    let mut lengths = None;
    loop {
        if lengths.is_none()
            && let Some(head) = head_length(bytes)
        {
            let body = usize::try_from(number(field(&bytes[..head], "content-length")?)?).ok()?.min(LARGEST_REQUEST);
            bytes.reserve((head + body).saturating_sub(bytes.len()));
            lengths = Some((head, head + body));
        }
        match lengths {
            Some((_, whole)) if bytes.len() >= whole => return lengths,
            _ => bytes.reserve(1),
        }
        if tcp.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::answer::Answer;

    #[test]
    fn what_it_says_reads_as_whole_answers() {
        let stage = Stage::set();
        let mut whole = Answer::new(false);
        assert_eq!(whole.feed(&stage.whole), Ok(true));
        assert!((1_500..3_000).contains(&whole.body()), "{} bytes", whole.body());
        for (burst, events) in [(&stage.burst, 65), (&stage.burst_with_usage, 66)] {
            let mut answer = Answer::new(true);
            assert_eq!(answer.feed(burst), Ok(true));
            assert_eq!(answer.events(), events, "with `[DONE]`");
        }
        let paced: Vec<u8> = [&stream(&[], false)[..], &stage.events[0], &stage.events[1], &stage.last_events].concat();
        let mut answer = Answer::new(true);
        assert_eq!(answer.feed(&paced), Ok(true));
        assert_eq!(answer.events(), 4);
    }
}
