//! What a provider may do with a connection, byte by byte, and what becomes of it and of the calls over it.

mod tls;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{CHAT, chat, eventually, post, reason, row, with};
use crate::harness::{KEY, Reply, Rig, Setup};

const ODD: &str = "/odd/v1/chat/completions";
/// The most output that these calls allow.
const MOST: u64 = 700;
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// What the provider does for one request, once its head is there.
enum Act {
    /// Reads the request's body.
    Take,
    Say(String),
    /// The same, a byte at a time.
    Spell(String),
    Wait(u64),
    Close,
}

use Act::{Close, Say, Spell, Take, Wait};

/// A provider that does what it is told, request after request.
struct Odd {
    address: SocketAddr,
    script: Arc<Script>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Script {
    acts: Mutex<VecDeque<Vec<Act>>>,
    /// The connection that each request came over, and how many bytes of body were taken.
    seen: Mutex<Vec<(usize, usize)>>,
    /// How many requests were dealt with to the last act.
    done: AtomicUsize,
}

impl Odd {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let script = Arc::<Script>::default();
        let mut tasks = JoinSet::new();
        let played = Arc::clone(&script);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let number = connections.len();
                connections.spawn(play(tcp, number, Arc::clone(&played)));
            }
        });
        Self { address, script, _tasks: tasks }
    }

    fn will(&self, acts: impl IntoIterator<Item = Act>) {
        self.script.acts.lock().expect("a lock").push_back(acts.into_iter().collect());
    }

    /// Waits until it has done what it was told for so many requests.
    async fn has_done(&self, requests: usize) {
        eventually("the last act", async || self.script.done.load(Ordering::Relaxed) >= requests).await;
    }

    /// The connections that requests came over since this was asked last.
    fn connections(&self) -> Vec<usize> {
        self.script.seen.lock().expect("a lock").drain(..).map(|(connection, _)| connection).collect()
    }
}

async fn play(mut tcp: TcpStream, number: usize, script: Arc<Script>) {
    let Script { acts, seen, done } = &*script;
    tcp.set_nodelay(true).expect("an option");
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break buffer.drain(..end + 4).collect::<Vec<u8>>();
            }
            match tcp.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next());
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        let at = {
            let mut seen = seen.lock().expect("a lock");
            seen.push((number, 0));
            seen.len() - 1
        };
        let acts = acts.lock().expect("a lock").pop_front().expect("a script");
        for act in acts {
            match act {
                Take => {
                    while buffer.len() < length && tcp.read_buf(&mut buffer).await.expect("a body") > 0 {}
                    buffer.drain(..length);
                    seen.lock().expect("a lock")[at].1 = length;
                }
                Say(text) => tcp.write_all(text.as_bytes()).await.expect("written"),
                Spell(text) => {
                    for byte in text.bytes() {
                        tcp.write_all(&[byte]).await.expect("written");
                        tokio::task::yield_now().await;
                    }
                }
                Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                Close => {
                    drop(tcp);
                    done.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// A provider, a gateway before it with these lines in its configuration, and a client.
async fn stage(config: &str) -> (Odd, Rig, Client) {
    let odd = Odd::start().await;
    let providers = format!("  odd: {{ dialect: openai, base_url: \"http://{}\", api_key: k }}\n", odd.address);
    let rig = Rig::start(Setup { providers: &providers, config, ..Setup::default() }).await;
    let client = Client::of(rig.node.data_address());
    (odd, rig, client)
}

/// Calls over one connection, so that they come to one core, whose links they share.
struct Client {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
    tasks: JoinSet<()>,
}

impl Client {
    fn of(address: SocketAddr) -> Self {
        Self { address, sender: None, tasks: JoinSet::new() }
    }

    async fn ask(&mut self) -> Reply {
        self.send(with(post(ODD), short())).await
    }

    /// Sends a request and reads its answer. A connection that was closed is replaced.
    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Reply {
        request.headers_mut().insert("host", HeaderValue::from_static("gateway"));
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await,
        };
        sender.ready().await.expect("a connection");
        let (head, mut body) = sender.send_request(request).await.expect("an answer").into_parts();
        let (mut bytes, mut cut) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => cut = true,
            }
        }
        self.sender = (!cut).then_some(sender);
        Reply { status: head.status, headers: head.headers, body: bytes.into(), cut }
    }

    async fn connect(&mut self) -> SendRequest<Full<Bytes>> {
        let tcp = TcpStream::connect(self.address).await.expect("a connection");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.expect("a handshake");
        self.tasks.spawn(async move {
            let _ = connection.await;
        });
        sender
    }
}

fn whole(text: &str) -> Act {
    Say(format!("{OK}content-length: {}\r\n\r\n{text}", text.len()))
}

/// So many that a task that looks at all of them at once is not told any more what is there.
// Mutation: in `Pool::take` a link is asked within the task's budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_the_provider_has_closed_are_passed_over_however_many_they_are() {
    const MANY: usize = 400;
    // Each connection is four descriptors of this process.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("a limit within the limit");
    let (odd, rig, _) = stage("").await;
    let (address, mut calls) = (rig.node.data_address(), JoinSet::new());
    for _ in 0..MANY {
        odd.will([Take, Wait(500), whole("first"), Wait(500), Close]);
        calls.spawn(async move { Client::of(address).ask().await.text() });
    }
    assert!(calls.join_all().await.iter().all(|text| text == "first"));
    odd.has_done(MANY).await;
    for _ in 0..4 {
        odd.will([Take, whole("second")]);
        assert_eq!(Client::of(address).ask().await.text(), "second");
    }
    rig.stop().await;
}

/// Row B16 of the fault matrix.
// Mutations: 101 is an interim answer like 100; a second `Content-Length` is not looked at; `Transfer-Encoding` wins over
// `Content-Length`; a head may be as long as it likes; in `fail` such an answer counts as heard out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b16_a_head_that_cannot_be_understood_is_a_bad_gateway_and_ends_its_connection() {
    let (odd, rig, mut client) = stage("").await;
    odd.will([Take, whole("first")]);
    assert_eq!(client.ask().await.text(), "first");
    for head in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: odd\r\nconnection: upgrade\r\n\r\n".to_owned(),
        format!("{OK}content-length: 2\r\ncontent-length: 2\r\n\r\nhi"),
        format!("{OK}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        format!("{OK}transfer-encoding: gzip\r\ncontent-length: 2\r\n\r\nhi"),
        format!("{OK}content-length: two\r\n\r\nhi"),
        format!("{OK}x: {}\r\ncontent-length: 2\r\n\r\nhi", "y".repeat(70_000)),
        format!("{OK}{}content-length: 2\r\n\r\nhi", "x: y\r\n".repeat(130)),
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-len".to_owned(),
    ] {
        let (one, other) = head.split_at(head.len().min(60_000));
        odd.will([Take, Say(one.to_owned()), Wait(5), Say(other.to_owned()), Close]);
        let shown = &head[..head.len().min(120)];
        let reply = client.ask().await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{shown}: {}", reply.text());
        assert_eq!(reason(CHAT, &reply).0, "upstream_failed", "{shown}");
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        assert_eq!(found["ending"], "upstream_failed", "{shown}");
        // We hung up, and the provider may bill all that the request allows; unless it ended the connection itself.
        let broke_off = head.ends_with("content-len");
        assert_eq!(found["output_tokens"].as_u64() >= Some(MOST), !broke_off, "{shown}: {found}");
    }
    assert_eq!(odd.connections(), [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b16_interim_answers_are_passed_over_and_the_connection_is_kept() {
    let (odd, rig, mut client) = stage("").await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    odd.will([Take, Say(interim.to_owned()), Wait(20), whole("one")]);
    odd.will([Say("HTTP/1.1 102 Processing\r\n\r\n".to_owned()), Take, whole("two")]);
    for text in ["one", "two"] {
        let reply = client.ask().await;
        assert_eq!((reply.status, reply.text().as_str(), reply.header("link")), (StatusCode::OK, text, ""));
    }
    assert_eq!(odd.connections(), [0, 0]);
    rig.stop().await;
}

/// Row B17 of the fault matrix: bytes that nobody asked for.
// Mutations: a link is kept although more came than the answer; a link that was idle is not looked at before it is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b17_what_follows_an_answer_is_nobody_elses_answer() {
    let (odd, rig, mut client) = stage("").await;
    let stray = format!("{OK}content-length: 6\r\n\r\nstolen");
    let chunks = format!("{OK}transfer-encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n");
    let at_once = format!("{OK}content-length: 5\r\n\r\nright{stray}");
    let without = format!("HTTP/1.1 204 No Content\r\n\r\n{stray}");
    let cases = [
        (vec![Take, Say(at_once)], "right"),
        (vec![Take, Say(format!("{chunks}{stray}"))], "right"),
        (vec![Take, Say(without)], ""),
        (vec![Take, whole("right"), Wait(20), Say(stray.clone())], "right"),
        (vec![Take, Say(chunks), Wait(20), Say("x".to_owned())], "right"),
        (vec![Take, whole("right"), Wait(20), Close], "right"),
    ];
    for (before, (acts, text)) in cases.into_iter().enumerate() {
        odd.will(acts);
        assert_eq!(client.ask().await.text(), text);
        odd.has_done(before + 1).await;
    }
    odd.will([Take, whole("last")]);
    assert_eq!(client.ask().await.text(), "last");
    assert_eq!(odd.connections(), [0, 1, 2, 3, 4, 5, 6]);
    rig.stop().await;
}

// Mutation: in `Link::read_head` what the head says of the connection is not looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_provider_says_it_will_close_takes_no_other_request() {
    let (odd, rig, mut client) = stage("").await;
    for head in ["HTTP/1.1 200 OK\r\nconnection: Close", "HTTP/1.0 200 OK", "HTTP/1.0 200 OK\r\nconnection: keep-alive"]
    {
        odd.will([Take, Say(format!("{head}\r\ncontent-length: 5\r\n\r\nright"))]);
        assert_eq!(client.ask().await.text(), "right");
    }
    odd.will([Take, whole("last")]);
    assert_eq!(client.ask().await.text(), "last");
    assert_eq!(odd.connections(), [0, 1, 2, 2]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_a_byte_at_a_time_is_the_same_answer() {
    let (odd, rig, mut client) = stage("").await;
    let chunks = "6;extension=\"x\"\r\n{\"a\":1\r\n1\r\n}\r\n0\r\nx-trailer: y\r\n\r\n";
    for _ in 0..2 {
        odd.will([Take, Spell(format!("{OK}transfer-encoding: chunked\r\n\r\n{chunks}"))]);
        let reply = client.ask().await;
        assert_eq!((reply.text().as_str(), reply.cut), ("{\"a\":1}", false));
        assert!(!reply.headers.contains_key("x-trailer"));
    }
    odd.will([Take, Spell(format!("{OK}content-length: 7\r\n\r\n{{\"a\":1}}"))]);
    assert_eq!(client.ask().await.text(), "{\"a\":1}");
    assert_eq!(odd.connections(), [0, 0, 0]);
    rig.stop().await;
}

// Mutation: in `Source::poll` an answer that cannot be read on was ended by the provider.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_length_ends_with_its_connection_and_one_with_a_length_does_not() {
    let (odd, rig, mut client) = stage("").await;
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"] {
        odd.will([Take, Say(format!("{head}the begin")), Wait(20), Say("ning".to_owned()), Close]);
        let reply = client.ask().await;
        assert_eq!((reply.text().as_str(), reply.cut), ("the beginning", false));
        assert_eq!(row(&rig, reply.header("plimsoll-request-id")).await["ending"], "complete");
    }
    let last_is_missing = format!("{OK}transfer-encoding: chunked\r\n\r\n9\r\nthe begin\r\n");
    let wrong = format!("{last_is_missing}4\r\nnin\r\n");
    for answer in [format!("{OK}content-length: 13\r\n\r\nthe begin"), last_is_missing, format!("{wrong}0\r\n\r\n")] {
        odd.will([Take, Say(answer), Close]);
        let reply = client.ask().await;
        assert!(reply.cut && reply.text().starts_with("the begin"), "{reply:?}");
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        assert_eq!(found["ending"], "upstream_failed");
        // What is not read on is given up by us.
        assert_eq!(found["output_tokens"].as_u64() >= Some(MOST), reply.text() != "the begin", "{reply:?} {found}");
    }
    rig.stop().await;
}

// Mutation: in `forward` an answer is settled at once also where its end came with its head, but not its length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_answer_in_chunks_is_no_finished_one_and_is_not_given_again() {
    let (odd, rig, mut client) = stage("replay: {}\n").await;
    odd.will([Take, Say(format!("{OK}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"))]);
    odd.will([Take, whole("{}")]);
    for text in ["", "{}"] {
        let named = post(ODD).header("plimsoll-external-request-id", "one");
        let reply = client.send(with(named, chat("hello").to_string())).await;
        assert_eq!((reply.text().as_str(), reply.header("plimsoll-replayed")), (text, ""));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_body_leave_their_connection_ready_for_the_next() {
    let (odd, rig, mut client) = stage("").await;
    let head = Request::head("/odd/v1/models").header("authorization", format!("Bearer {KEY}"));
    odd.will([Take, Say(format!("{OK}content-length: 5\r\n\r\n"))]);
    odd.will([Take, Say("HTTP/1.1 204 No Content\r\n\r\n".to_owned())]);
    odd.will([Take, Say("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n".to_owned())]);
    odd.will([Take, whole("")]);
    odd.will([Take, whole("right")]);
    let reply = client.send(with(head, "")).await;
    assert_eq!((reply.status, reply.header("content-length")), (StatusCode::OK, "5"));
    for (status, text) in [(204, ""), (304, ""), (200, ""), (200, "right")] {
        let reply = client.ask().await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (status, text));
    }
    assert_eq!(odd.connections(), [0; 5]);
    rig.stop().await;
}

fn short() -> String {
    let mut body = chat("hello");
    body["max_tokens"] = MOST.into();
    body.to_string()
}

/// A request that does not fit into the sockets between gateway and provider.
fn long() -> String {
    json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "x".repeat(24 << 20) }] }).to_string()
}

// Mutation: in `Link::poll_burst` nothing more of the request is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_may_begin_before_its_request_has_left_which_then_goes_on() {
    let (odd, rig, mut client) = stage("limits: { silence_timeout: 3 s }\n").await;
    let begins = format!("{OK}transfer-encoding: chunked\r\n\r\n9\r\nthe begin\r\n");
    odd.will([Say(begins), Wait(50), Take, Say("4\r\nning\r\n0\r\n\r\n".to_owned())]);
    odd.will([Take, whole("next")]);
    let body = long();
    let length = body.len();
    let reply = client.send(with(post(ODD), body)).await;
    assert_eq!((reply.text().as_str(), reply.cut), ("the beginning", false));
    assert_eq!(odd.script.seen.lock().expect("a lock").as_slice(), [(0, length)]);
    assert_eq!(client.ask().await.text(), "next");
    assert_eq!(odd.connections(), [0, 0], "a connection over which everything has passed is kept");
    rig.stop().await;
}

// Mutations: in `Link::poll_answer` a request that cannot be written on is the end, whatever the provider says. Or a link whose
// request has not left whole is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_refuses_before_it_has_read_everything_is_heard() {
    let (odd, rig, mut client) = stage("").await;
    let refusal = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 8\r\n\r\ntoo long".to_owned();
    for acts in [vec![Say(refusal.clone()), Close], vec![Say(refusal.clone()), Wait(300), Close]] {
        odd.will(acts);
        let reply = client.send(with(post(ODD), long())).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (413, "too long"));
    }
    odd.will([Take, whole("next")]);
    assert_eq!(client.ask().await.text(), "next");
    let body = short().len();
    assert_eq!(odd.script.seen.lock().expect("a lock").as_slice(), [(0, 0), (1, 0), (2, body)]);
    rig.stop().await;
}
