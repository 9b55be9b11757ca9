//! The end of the gateway itself, and panics in it (rows B20 and B21).

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ::bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll::domain::clock::{Clock, SystemClock, Timestamp};
use plimsoll::sim::{Provider, Script};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{CHAT, ROOMY, SOFT, call, chat, each_stream, hear, rounds, talks};
use crate::faults::{Agreed, Told, agree, compare, rows, until};
use crate::harness::{Exchange, Rig, Setup, config, send};

/// The real program in a process of its own.
struct Program {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Program {
    fn start(provider: &Provider, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("policies")).expect("a folder");
        std::fs::write(folder.path().join("policies/policy.yaml"), ROOMY).expect("a policy");
        let file = folder.path().join("plimsoll.yaml");
        let setup = Setup { config: more, ..Setup::default() };
        std::fs::write(&file, config(&provider.base_url(), &setup)).expect("a configuration");
        let mut child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args([Path::new("serve"), Path::new("--config"), &file])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut lines = BufReader::new(child.stderr.take().expect("its output")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("OPENAI_BASE_URL=http://")?;
            rest.strip_suffix("/openai/v1")?.parse().ok()
        });
        // Whatever else it says may not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address: address.expect("an address in the banner"), folder }
    }

    fn terminate(&self) {
        let done = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(done.success());
    }

    async fn exit_code(&mut self) -> Option<i32> {
        for _ in 0..6_000 {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the program does not end");
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("plimsoll.db")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads an answer to its end or to where it is cut.
async fn read_on(mut exchange: Exchange, nonce: String) -> (Told, bool) {
    let mut whole = true;
    while let Some(frame) = tokio::time::timeout(Duration::from_mins(1), exchange.frame()).await.expect("a frame") {
        if frame.is_err() {
            whole = false;
            break;
        }
    }
    (Told::part(&nonce, &exchange), whole)
}

// Mutation: drop the grace in `Door::run` (every stream is cut), or leave out `Drop for Abandoned` and `Drop for Attempt`
// (streams that are cut have no row).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b20_a_stop_lets_streams_run_to_the_end_of_the_grace_and_every_attempt_has_its_row() {
    let provider = Provider::start(talks(20)).await.expect("a scripted provider");
    let mut program = Program::start(&provider, "limits: { grace: 3 s }\n");
    let streams = rounds("PLIMSOLL_B20_STREAMS", 200);
    let mut reading = JoinSet::new();
    for at in 0..streams {
        // Most end in half a second. Every fourth goes on for a minute.
        let tokens = if at % 4 == 0 {
            900
        } else if at + 1 == streams {
            25
        } else {
            20
        };
        let (path, mut body) = each_stream(&format!("[[tokens={tokens}]]"))[at % 2].clone();
        body["max_tokens"] = serde_json::json!(3_000);
        let nonce = format!("b20-{at}");
        let exchange = Exchange::open(program.address, call(path, &nonce, &body)).await;
        reading.spawn(read_on(exchange, nonce));
    }
    program.terminate();
    until("the end of the listener", Duration::from_secs(20), async || {
        TcpStream::connect(program.address).await.is_err()
    })
    .await;
    let heard = reading.join_all().await;
    assert_eq!(program.exit_code().await, Some(0));
    until("the end of the bill", Duration::from_secs(20), async || provider.bill().iter().all(|line| !line.open)).await;
    let log: Vec<Told> = heard.iter().map(|(told, _)| told.clone()).collect();
    let agreed = compare(&log, &rows(&program.ledger()), &provider.bill());
    let (mut whole, mut cut) = (0, 0);
    for (found, (_, is_whole)) in agreed.iter().zip(&heard) {
        let basis = if *is_whole { "exact" } else { "in_doubt" };
        assert_eq!(found.row().basis, basis, "{found:#?}");
        *(if *is_whole { &mut whole } else { &mut cut }) += 1;
    }
    let last = agreed.iter().find(|found| found.told.nonce == format!("b20-{}", streams - 1)).expect("the last call");
    assert_eq!(last.row().basis, "exact", "the word to stop came in the middle of it: {last:#?}");
    assert!(cut >= streams.div_ceil(4) && whole > 0, "{cut} streams were cut, {whole} ran to their end");
}

// Mutation: in `cli::serve::attend` wait for the stop without looking at further signals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b20_a_second_signal_does_not_wait_for_the_grace() {
    let provider = Provider::start(Script::default()).await.expect("a scripted provider");
    let mut program = Program::start(&provider, "limits: { grace: 1 hour }\n");
    let request = call(CHAT, "b20-stalled", &chat("[[stall=300]]", true));
    let _exchange = Exchange::open(program.address, request).await;
    program.terminate();
    until("the end of the listener", Duration::from_secs(20), async || {
        TcpStream::connect(program.address).await.is_err()
    })
    .await;
    program.terminate();
    assert_eq!(program.exit_code().await, Some(1), "forced, and said so");
}

/// A clock that panics while it is armed, so many times.
#[derive(Default)]
struct Mined {
    armed: AtomicBool,
    went_off: AtomicU64,
}

impl Clock for Mined {
    fn now(&self) -> Timestamp {
        if self.armed.load(Ordering::SeqCst) {
            self.went_off.fetch_add(1, Ordering::SeqCst);
            panic!("the clock of a test");
        }
        SystemClock.now()
    }
}

async fn mined(policy: &str, script: Script) -> (Rig, Arc<Mined>) {
    let clock = Arc::new(Mined::default());
    let rig =
        Rig::start(Setup { policy: Some(policy), script, clock: Arc::<Mined>::clone(&clock), ..Setup::default() });
    (rig.await, clock)
}

async fn panics(rig: &Rig) -> u64 {
    let text = rig.admin("/metrics").await.text();
    let count = text.lines().find_map(|line| line.strip_prefix("plimsoll_panics_total "));
    count.and_then(|count| count.trim().parse().ok()).expect("a count of panics")
}

// Mutation: await the request without `unharmed` in `Worker::serve`: the whole connection goes, and no 500 comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b21_a_panic_fails_its_own_request_in_the_dialects_shape_and_no_other_on_the_connection() {
    let (rig, clock) = mined(ROOMY, talks(5)).await;
    let tcp = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.expect("a handshake");
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let on_it = |path: &str, nonce: &str, body: &serde_json::Value| {
        let (mut sender, mut request) = (sender.clone(), call(path, nonce, body));
        *request.uri_mut() = format!("http://gateway{path}").parse().expect("a URI");
        async move { sender.send_request(request).await }
    };
    let mut answers = Vec::new();
    for at in 0..20 {
        let nonce = format!("b21-fine-{at}");
        let answer = on_it(CHAT, &nonce, &chat("[[tokens=100]]", true)).await.expect("an answer");
        answers.push((nonce, answer));
    }
    let before = panics(&rig).await;
    clock.armed.store(true, Ordering::SeqCst);
    for (path, body) in each_stream("") {
        let broken = on_it(path, "b21-broken", &body).await.expect("the connection lives");
        assert_eq!(broken.status(), 500, "{path}");
        let text = broken.into_body().collect().await.expect("a body").to_bytes();
        let error: serde_json::Value = serde_json::from_slice(&text).expect("JSON in the dialect's shape");
        assert!(error["error"].is_object(), "{error}");
    }
    clock.armed.store(false, Ordering::SeqCst);
    assert!(clock.went_off.load(Ordering::SeqCst) >= 3 && panics(&rig).await >= before + 3);
    let mut log = Vec::new();
    for (nonce, answer) in answers {
        let status = answer.status().as_u16();
        let text = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        assert!(text.ends_with(b"data: [DONE]\n\n"), "{nonce}");
        log.push(Told { nonce, status, usage: None });
    }
    let after = on_it(CHAT, "b21-after", &chat("[[tokens=5]]", false)).await.expect("an answer");
    log.push(Told { nonce: "b21-after".to_owned(), status: after.status().as_u16(), usage: None });
    for found in agree(&rig, &log).await {
        assert_eq!((found.told.status, found.row().basis.as_str()), (200, "exact"), "{found:#?}");
    }
    rig.stop().await;
}

// Mutation: call `look` without `caught` in `announce::crossed`: the panic of a settlement takes the row with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b21_a_panic_while_a_call_is_settled_loses_neither_its_row_nor_its_hold() {
    for policy in [ROOMY, SOFT] {
        let (rig, clock) = mined(policy, talks(2)).await;
        let mut log = Vec::new();
        let mut running = JoinSet::new();
        for at in 0..10 {
            let nonce = format!("b21-settled-{at}");
            let request: Request<Full<Bytes>> = call(CHAT, &nonce, &chat("[[tokens=100]]", true));
            let exchange = Exchange::open(rig.node.data_address(), request).await;
            // Half of the clients stay to the end, half of them leave.
            if at % 2 == 0 {
                running.spawn(read_on(exchange, nonce));
            } else {
                log.push(Told::part(&nonce, &exchange));
            }
        }
        clock.armed.store(true, Ordering::SeqCst);
        for (told, whole) in running.join_all().await {
            assert!(whole, "{told:?}");
            log.push(told);
        }
        let agreed: Vec<Agreed> = agree(&rig, &log).await;
        assert!(clock.went_off.load(Ordering::SeqCst) > 0, "nobody asked the clock");
        clock.armed.store(false, Ordering::SeqCst);
        for found in agreed {
            assert_eq!(found.row().basis, "exact", "{found:#?}");
        }
        let (told, _) = hear(&rig, "b21-next", CHAT, &chat("", false)).await;
        assert_eq!(told.status, 200);
        assert_eq!(send(rig.node.data_address(), call(CHAT, "b21-last", &chat("", false))).await.status, 200);
        rig.stop().await;
    }
}
