//! What holds while there is much to do: readers that are slow, tenants that take everything, connections by the dozen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use plimsoll::sim::Script;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{CHAT, chat, eventually, plain, post, reason, with};
use crate::harness::{Exchange, KEY, Rig, Setup};

/// Far more than the sockets between provider, gateway and client can hold.
const LONG_ANSWER: u64 = 96 << 20;

/// A provider that answers every request with a long stream, as fast as it is taken. Says how much of it was.
async fn gusher(tasks: &mut JoinSet<()>) -> (std::net::SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    tasks.spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.read(&mut [0; 4096]).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {LONG_ANSWER}\r\n\r\n");
            let _ = tcp.write_all(head.as_bytes()).await;
            let piece = vec![b'x'; 64 << 10];
            while count.load(Ordering::Relaxed) < LONG_ANSWER && tcp.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    });
    (address, taken)
}

/// What this process holds in memory, in bytes; what the kernel keeps for its sockets is not in it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// Row A10 of the fault matrix.
// Mutation: a body that reads on while its client does not, into a queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_a_client_that_does_not_read_stops_its_provider_and_fills_no_memory() {
    let mut tasks = JoinSet::new();
    let (address, taken) = gusher(&mut tasks).await;
    let providers = format!("  gusher: {{ dialect: openai, base_url: \"http://{address}\", api_key: sk }}\n");
    let rig = Rig::start(Setup { providers: &providers, ..Setup::default() }).await;
    let before = resident();
    let mut client = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
    let request = format!("GET /gusher/v1/files HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("a request is written");
    let mut last = 0;
    eventually("the provider is stopped", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let so_far = taken.load(Ordering::Relaxed);
        so_far > 0 && std::mem::replace(&mut last, so_far) == so_far
    })
    .await;
    assert!(last < LONG_ANSWER, "the provider was let write all of it");
    if let Some((before, now)) = before.zip(resident()) {
        // A stream may hold 192 KiB, in hyper and on its way there; the rest is what any process gets and gives back.
        assert!(now.saturating_sub(before) < 8 << 20, "{} KiB more than before", (now - before) >> 10);
    }
    let (mut length, mut buffer) = (0, vec![0; 1 << 16]);
    while length < LONG_ANSWER {
        let read = client.read(&mut buffer).await.expect("bytes");
        assert!(read > 0, "the answer breaks off after {length} bytes");
        length += read as u64;
    }
    rig.stop().await;
}

/// Row H4: whoever floods the gateway fills its own places.
// Mutation: places are counted over all tenants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h4_a_tenant_that_has_taken_all_its_places_is_told_to_wait_and_nobody_else_is() {
    let script = Script { token_delay: Duration::from_millis(100), ..Script::default() };
    let rig = Rig::start(Setup { script, config: "limits: { streams_per_tenant: 4 }\n", ..Setup::default() }).await;
    let mut body = chat("hello");
    body["stream"] = true.into();
    let stream = || Exchange::open(rig.node.data_address(), with(post(CHAT), body.to_string()));
    let mut running = Vec::new();
    for _ in 0..4 {
        let mut answer = stream().await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.next().await.expect("an event").expect("bytes");
        running.push(answer);
    }
    let refused = rig.send(with(post(CHAT), body.to_string())).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, "1"),
        "{}",
        refused.text()
    );
    assert!(!reason(CHAT, &refused).0.is_empty(), "{}", refused.text());
    let other = rig.chat("acme-corp", "a", &chat("[[tokens=1]]")).await;
    assert_eq!(other.status, StatusCode::OK, "{}", other.text());
    drop(running);
    rig.stop().await;
}

/// Connections are dealt out to cores by chance and handed over where a core has clearly more: none is lost on the way.
// Mutation: a connection that is handed over is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_one_of_many_connections_is_served_whichever_core_it_came_to() {
    let rig = plain().await;
    let body = chat("hello").to_string();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut tcp = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
        tcp.write_all(request.as_bytes()).await.expect("a request is written");
        open.push(tcp);
    }
    for tcp in &mut open {
        let mut start = [0; 15];
        let read = tokio::time::timeout(Duration::from_secs(10), tcp.read_exact(&mut start));
        read.await.expect("an answer within 10 s").expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 200 OK");
    }
    drop(open);
    rig.stop().await;
}
