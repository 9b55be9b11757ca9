//! Clients that leave: before the call does, in mid-stream, before an answer, again and again (rows B1 to B5).

use std::net::SocketAddr;
use std::time::Duration;

use plimsoll::sim::Script;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CHAT, Dice, ROOMY, SOFT, at_once, call, chat, each_stream, leave, roomy, rounds, talks};
use crate::faults::{Told, agree, until};
use crate::harness::{KEY, Rig, Setup};

/// A marked chat call as bytes, to be written to a socket by hand.
fn raw_call(path: &str, nonce: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\nplimsoll-tenant-id: globex\r\nx-sim-nonce: {nonce}\r\n\
         plimsoll-attr-nonce: {nonce}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A listener whose queue is full, so that further connections wait for it.
fn clogged() -> (Socket, SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    listener.listen(0).expect("a listener");
    let address = listener.local_addr().expect("an address").as_socket().expect("an IP address");
    let waiting = (0..3).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a socket option");
        // It stays under way, or fills the queue.
        let _ = socket.connect(&address.into());
        socket
    });
    let waiting = waiting.collect();
    (listener, address, waiting)
}

// Mutation: in `Detached::drop` do not look at `dispatched`: the call goes on, and its row is not void.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_a_client_that_leaves_before_its_call_does_pays_nothing_and_nothing_is_sent() {
    let (listener, address, _waiting) = clogged();
    let extra = format!("  clogged: {{ dialect: openai, base_url: \"http://{address}\", api_key: k }}\n");
    let rig = Rig::start(Setup { policy: Some(ROOMY), providers: &extra, ..Setup::default() }).await;
    let mut tcp = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
    let text = raw_call("/clogged/v1/chat/completions", "b1-connecting", &chat("", true).to_string());
    tcp.write_all(text.as_bytes()).await.expect("a write");
    until("a hold", Duration::from_secs(10), async || crate::faults::held(&rig.node) > 0).await;
    drop(tcp);
    // Another one leaves in the middle of its own body: nobody was ever asked to judge it.
    let mut half = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
    let text = raw_call(CHAT, "b1-half", &chat("", true).to_string());
    half.write_all(&text.as_bytes()[..text.len() - 10]).await.expect("a write");
    drop(half);
    let agreed = agree(&rig, &[Told::nothing("b1-connecting")]).await;
    let row = agreed[0].row();
    assert_eq!((row.ending.as_str(), row.basis.as_str(), row.cost), ("client_gone", "exact", Some(0)), "{row:?}");
    assert!(rig.provider.requests().is_empty());
    // Whoever waits in the queue after all has nothing to say.
    listener.set_nonblocking(true).expect("a socket option");
    for _ in 0..50 {
        if let Ok((connection, _)) = listener.accept() {
            let mut heard = [std::mem::MaybeUninit::uninit(); 64];
            connection.set_nonblocking(true).expect("a socket option");
            assert!(connection.recv(&mut heard).map_or(true, |bytes| bytes == 0), "a request was sent");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.stop().await;
}

// Mutation: in `Attempt::goes_on` always say yes: every stream is read to its end. Or `IN_FLIGHT_TOKENS` = 0 and no
// count of events: what was on its way is not charged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_a_provider_that_stops_billing_is_cancelled_and_never_under_billed() {
    let script = Script { bills_after_cancel: false, ..talks(15) };
    let of_each_provider = "bills_after_cancel: false";
    let rig = Rig::start(Setup { policy: Some(ROOMY), script, of_each_provider, ..Setup::default() }).await;
    let (address, mut dice) = (rig.node.data_address(), Dice(2));
    let calls = (0..rounds("PLIMSOLL_B2_CUTS", 90)).map(|at| {
        let (path, body) = each_stream("[[tokens=80]]")[at % 3].clone();
        let nonce = format!("b2-{at}");
        leave(address, call(path, &nonce, &body), nonce, dice.below(12_000))
    });
    let log = at_once(45, calls.collect::<Vec<_>>()).await;
    let agreed = agree(&rig, &log).await;
    let cancelled = agreed.iter().filter(|call| call.lines[0].output_tokens < 80).count();
    assert!(cancelled > agreed.len() / 4, "only {cancelled} of {} were cancelled", agreed.len());
    for found in agreed.iter().filter(|found| found.lines[0].output_tokens < 80) {
        let row = found.row();
        assert!(["partial", "estimated"].contains(&row.basis.as_str()), "{found:#?}");
        assert_eq!(row.ending, "client_gone");
    }
    rig.stop().await;
}

// Mutation: in `Tapped::drop` do not read on (`place()` is `None`): the row is in doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_provider_that_bills_on_is_read_to_its_end_without_the_client() {
    let rig = roomy(talks(1)).await;
    let (address, mut dice) = (rig.node.data_address(), Dice(3));
    let calls = (0..30).map(|at| {
        let (path, body) = each_stream("[[tokens=200]]")[at % 3].clone();
        let nonce = format!("b3-{at}");
        leave(address, call(path, &nonce, &body), nonce, dice.below(8_000))
    });
    let log = at_once(10, calls.collect::<Vec<_>>()).await;
    for found in agree(&rig, &log).await {
        assert_eq!((found.row().basis.as_str(), found.lines[0].output_tokens), ("exact", 200), "{found:#?}");
        assert_eq!(found.charged, found.billed);
    }
    rig.stop().await;
}

/// Leaves streams that go on for longer than they are read on, under a policy, and says what each row's basis is.
async fn beyond_the_drain(policy: &str, limits: &str, marks: &str, basis: &str) {
    let config = format!("limits: {{ {limits} }}\n");
    let rig = Rig::start(Setup { policy: Some(policy), config: &config, script: talks(1), ..Setup::default() }).await;
    let mut log = Vec::new();
    for (at, (path, body)) in each_stream(marks).into_iter().enumerate() {
        let nonce = format!("b3-beyond-{at}");
        log.push(leave(rig.node.data_address(), call(path, &nonce, &body), nonce, 1).await);
    }
    for found in agree(&rig, &log).await {
        let row = found.row();
        assert_eq!((row.basis.as_str(), row.ending.as_str()), (basis, "client_gone"), "{found:#?}");
        assert!(row.output >= Some(1_000), "less than the cap is charged: {found:#?}");
        assert_eq!(found.lines[0].output_tokens, 400, "the provider bills on: {found:#?}");
    }
    rig.stop().await;
}

// Mutation: set `heard_out` to true at the end of `drain`: what was seen is taken for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_drain_that_reaches_its_limits_is_charged_what_was_held() {
    beyond_the_drain(ROOMY, "drain_for: 100 ms", "[[tokens=400]] [[stall=1500]]", "in_doubt").await;
    beyond_the_drain(ROOMY, "drain_bytes: 2 KiB", "[[tokens=400]]", "in_doubt").await;
    beyond_the_drain(ROOMY, "drains_per_tenant: 0", "[[tokens=400]]", "in_doubt").await;
}

// Mutation: in `in_doubt` do not raise the output to the most that the request allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_drain_that_reaches_its_limits_without_a_hold_is_charged_the_most_that_it_may_cost() {
    beyond_the_drain(SOFT, "drain_for: 100 ms", "[[tokens=400]] [[stall=1500]]", "estimated").await;
    beyond_the_drain(SOFT, "drain_bytes: 2 KiB", "[[tokens=400]]", "estimated").await;
}

// Mutation: in `Attempt::goes_on` leave out `|| !self.stream`: a provider that stops billing is cancelled in mid-thought, and
// nobody knows what it had made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_an_answer_that_comes_whole_is_finished_without_its_client() {
    for bills_after_cancel in [true, false] {
        let script = Script { bills_after_cancel, ..Script::default() };
        let of_each_provider = format!("bills_after_cancel: {bills_after_cancel}");
        let rig =
            Rig::start(Setup { policy: Some(ROOMY), script, of_each_provider: &of_each_provider, ..Setup::default() })
                .await;
        let mut log = Vec::new();
        for at in 0..6 {
            let nonce = format!("b4-{at}");
            let mut tcp = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
            let text = raw_call(CHAT, &nonce, &chat("[[tokens=200]] [[delay=200]]", false).to_string());
            tcp.write_all(text.as_bytes()).await.expect("a write");
            until("the call", Duration::from_secs(10), async || rig.provider.requests().len() == at + 1).await;
            if at % 2 == 1 {
                // This one leaves with a part of the answer in its hands.
                tcp.read_exact(&mut [0; 20]).await.expect("a part of the answer");
            }
            drop(tcp);
            log.push(Told::nothing(&nonce));
        }
        for found in agree(&rig, &log).await {
            assert_eq!((found.row().basis.as_str(), found.row().output), ("exact", Some(200)), "{found:#?}");
        }
        rig.stop().await;
    }
}

// Mutation: never refuse a place in `Account::read_on`: nothing is in doubt. Or drop what is over the cap without `in_doubt`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_reading_one_token_and_leaving_is_charged_every_time() {
    let config = "limits: { drains_per_tenant: 4 }\n";
    let rig = Rig::start(Setup { policy: Some(ROOMY), config, script: talks(4), ..Setup::default() }).await;
    let address = rig.node.data_address();
    let calls = (0..rounds("PLIMSOLL_B5_ABORTS", 60)).map(|at| {
        let nonce = format!("b5-{at}");
        leave(address, call(CHAT, &nonce, &chat("[[tokens=100]]", true)), nonce, 1)
    });
    let log = at_once(20, calls.collect::<Vec<_>>()).await;
    let agreed = agree(&rig, &log).await;
    let doubted = agreed.iter().filter(|call| call.row().basis == "in_doubt").count();
    assert!(doubted > 0 && doubted < agreed.len(), "{doubted} of {} in doubt", agreed.len());
    for found in &agreed {
        assert!(found.lines[0].output_tokens == 100 && found.charged >= found.billed, "{found:#?}");
    }
    // Another tenant's places are its own.
    let reply = rig.chat("acme-corp", "a", &json!({ "model": "gpt-4o", "messages": [] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    rig.stop().await;
}
