//! How calls end when they do not end well: who pays, who is told, and that every hold is given back.

use std::time::Duration;

use http::StatusCode;
use plimsoll::sim::{Canned, Fault, Script};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{CHAT, MESSAGES, chat, each_dialect, eventually, hard, plain, post, reason, row, under, with};
use crate::harness::{Exchange, KEY, Rig, Setup};

/// Room for one call of 1,000 tokens at a time: a hold that is not given back refuses the next one.
const ONE_AT_A_TIME: &str = "$0.015/month";

fn reject(limit: &str) -> String {
    format!("{}defaults: {{ on_no_fit: reject }}\n", hard(limit))
}

/// A chat call whose hold is a cent and a bit, and whose answer is 200 tokens.
fn holding(marks: &str, stream: bool) -> Value {
    let mut body = chat(&format!("[[tokens=200]]{marks}"));
    body["max_tokens"] = json!(1_000);
    if stream {
        body["stream"] = json!(true);
    }
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_error_passes_byte_for_byte_and_is_charged_where_generation_may_have_run() {
    let rig = plain().await;
    for (status, body, charged) in [
        (429, "{\"error\": {\"message\":\"slow  down\"}}", false),
        (529, "overloaded", false),
        (503, "", false),
        (502, "<html>", true),
        (500, "", true),
    ] {
        let canned = Canned::new(status, "application/x-odd", body.to_owned()).with_header("retry-after", "7");
        rig.provider.enqueue(canned);
        let reply = rig.send(with(post(CHAT), holding("", status == 529).to_string())).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (status, body));
        assert_eq!((reply.header("content-type"), reply.header("retry-after")), ("application/x-odd", "7"));
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        let basis = if charged { "estimated" } else { "exact" };
        assert_eq!((&found["ending"], &found["basis"]), (&json!("provider_error"), &json!(basis)), "{found}");
        assert_eq!(found["cost_nano_usd"].as_i64().is_some_and(|cost| cost > 0), charged, "{found}");
        assert_eq!(found["status"], status);
    }
    assert_eq!(rig.provider.requests().len(), 5, "an error is not tried again");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_cannot_be_reached_is_a_bad_gateway_and_the_hold_is_given_back() {
    let rig = under(&reject(ONE_AT_A_TIME)).await;
    rig.provider.stop().await;
    for _ in 0..3 {
        let reply = rig.chat("globex", "a", &holding("", false)).await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{}", reply.text());
        assert_eq!(reply.json()["error"]["plimsoll"]["retryable"], true);
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        assert_eq!((&found["cost_nano_usd"], &found["status"]), (&json!(0), &json!(502)), "{found}");
    }
    rig.stop().await;
    let rig = plain().await;
    rig.provider.stop().await;
    let classes = ["upstream_failed", "api_error", "UNAVAILABLE"];
    for ((path, body), class) in each_dialect("hello").into_iter().zip(classes) {
        let reply = rig.send(with(post(path), body)).await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{path}: {}", reply.text());
        assert_eq!(reason(path, &reply), ("upstream_failed".to_owned(), class.to_owned()));
        let text = reply.text().to_lowercase();
        assert!(!["openai", "anthropic", "gemini", "127.0.0.1"].iter().any(|name| text.contains(name)), "{text}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_provider_cuts_is_cut_for_the_client_too() {
    let rig = plain().await;
    for fault in [Fault::Cut { after: 700, reset: false }, Fault::Cut { after: 700, reset: true }] {
        for (path, body) in [
            (CHAT, holding("", true).to_string()),
            (
                MESSAGES,
                json!({ "model": "claude-sonnet-4-5", "max_tokens": 900, "stream": true,
                "messages": [{ "role": "user", "content": "hello" }] })
                .to_string(),
            ),
        ] {
            rig.provider.fail_next(fault);
            let reply = rig.send(with(post(path), body)).await;
            assert_eq!(reply.status, StatusCode::OK);
            assert!(reply.cut, "{path} {fault:?} ended cleanly: {}", reply.text());
            assert!(!reply.text().contains("[DONE]") && !reply.text().contains("message_stop"), "{}", reply.text());
            let found = row(&rig, reply.header("plimsoll-request-id")).await;
            assert_eq!(found["ending"], "upstream_failed", "{found}");
            assert!(["partial", "estimated"].contains(&found["basis"].as_str().unwrap_or_default()), "{found}");
            assert!(found["cost_nano_usd"].as_i64().is_some_and(|cost| cost > 0), "{found}");
        }
    }
    // A body of known length that stops short is a cut as well.
    rig.provider.fail_next(Fault::Cut { after: 40, reset: false });
    let reply = rig.send(with(post(CHAT), holding("", false).to_string())).await;
    assert!(reply.cut);
    assert_eq!(row(&rig, reply.header("plimsoll-request-id")).await["ending"], "upstream_failed");
    rig.stop().await;
}

/// Head, the beginning of the body and the end of the connection in one go, as a busy machine sees them.
// Mutation: in `Tapped::poll` pass the cut on at once; then neither the head nor the bytes arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_cut_reaches_the_client_though_both_come_at_once() {
    let hasty = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = hasty.local_addr().expect("an address");
    let extra = format!("  hasty: {{ dialect: openai, base_url: \"http://{address}\", api_key: k }}\n");
    let rig = Rig::start(Setup { providers: &extra, ..Setup::default() }).await;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut tcp, _)) = hasty.accept().await {
            let _ = tcp.read(&mut [0; 4096]).await;
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nthe beginning").await;
        }
    });
    for _ in 0..20 {
        let reply = rig.send(with(post("/hasty/v1/chat/completions"), holding("", false).to_string())).await;
        assert_eq!((reply.status, reply.text().as_str(), reply.cut), (StatusCode::OK, "the beginning", true));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_does_not_answer_in_time_may_have_billed_and_what_was_held_stays_in_doubt() {
    let (config, policy) = ("limits: { first_byte_timeout: 300 ms }\n", reject(ONE_AT_A_TIME));
    let rig = Rig::start(Setup { config, policy: Some(&policy), ..Setup::default() }).await;
    let reply = rig.chat("globex", "a", &holding("[[delay=3000]]", false)).await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT, "{}", reply.text());
    assert_eq!(reason(CHAT, &reply).0, "upstream_timeout");
    let found = row(&rig, reply.header("plimsoll-request-id")).await;
    assert_eq!((&found["ending"], &found["basis"]), (&json!("upstream_failed"), &json!("in_doubt")), "{found}");
    let reply = rig.chat("globex", "a", &holding("", false)).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "what may have been billed is not lent again");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_hangs_up_without_an_answer_is_a_bad_gateway_and_is_not_asked_again() {
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = mute.local_addr().expect("an address");
    let extra = format!("  mute: {{ dialect: openai, base_url: \"http://{address}\", api_key: k }}\n");
    let rig = Rig::start(Setup { providers: &extra, ..Setup::default() }).await;
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut tcp, _)) = mute.accept().await {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let _ = tcp.read(&mut [0; 4096]).await;
        }
    });
    let reply = rig.send(with(post("/mute/v1/chat/completions"), holding("", false).to_string())).await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{}", reply.text());
    assert_eq!(reason(CHAT, &reply), ("upstream_failed".to_owned(), "upstream_failed".to_owned()));
    let found = row(&rig, reply.header("plimsoll-request-id")).await;
    assert_eq!((&found["ending"], &found["basis"]), (&json!("upstream_failed"), &json!("estimated")), "{found}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    rig.stop().await;
}

/// A gateway under a budget with room for one call, before a provider that takes about a second for an answer.
async fn slow_talker() -> Rig {
    let script = Script { token_delay: Duration::from_millis(4), tokens_per_event: 4, ..Script::default() };
    Rig::start(Setup { policy: Some(&reject(ONE_AT_A_TIME)), script, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_mid_stream_pays_what_the_provider_bills() {
    let rig = slow_talker().await;
    let request = with(post(CHAT), holding("", true).to_string());
    let mut answer = Exchange::open(rig.node.data_address(), request).await;
    answer.next().await.expect("an event").expect("no cut");
    let id = answer.header("plimsoll-request-id");
    drop(answer);
    let found = row(&rig, &id).await;
    let bill = rig.provider.bill().pop().expect("a bill");
    assert_eq!(found["ending"], "client_gone", "{found}");
    assert_eq!((&found["input_tokens"], &found["output_tokens"]), (&json!(bill.input_tokens), &json!(200)), "{found}");
    assert_eq!((bill.output_tokens, bill.finished), (200, true));
    assert_eq!(found["basis"], "exact");
    assert_eq!(rig.chat("globex", "a", &holding("", false)).await.status, StatusCode::OK, "the hold was kept");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_the_answer_pays_what_the_provider_bills() {
    let rig = slow_talker().await;
    let body = holding("[[delay=300]]", false).to_string();
    let mut tcp = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
    let text = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\nplimsoll-tenant-id: globex\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(text.as_bytes()).await.expect("a write");
    eventually("the call", async || rig.provider.requests().len() == 1).await;
    drop(tcp);
    let mut spend = Value::Null;
    eventually("the row", async || {
        spend = rig.admin("/api/v1/spend").await.json();
        spend["rows"][0]["attempts"] == 1
    })
    .await;
    assert_eq!(spend["rows"][0]["output_tokens"], 200, "{spend}");
    assert_eq!(rig.provider.totals().output_tokens, 200);
    assert_eq!(rig.chat("globex", "a", &holding("", false)).await.status, StatusCode::OK, "the hold was kept");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_a_running_stream_finish_and_takes_no_new_call() {
    let rig = slow_talker().await;
    let address = rig.node.data_address();
    let mut answer = Exchange::open(address, with(post(CHAT), holding("", true).to_string())).await;
    let mut text = answer.next().await.expect("an event").expect("no cut").to_vec();
    let Rig { provider, node, folder } = rig;
    let stopping = tokio::task::spawn_blocking(move || node.stop());
    eventually("the listener's end", async || TcpStream::connect(address).await.is_err()).await;
    while let Some(bytes) = answer.next().await {
        text.extend_from_slice(&bytes.expect("no cut"));
    }
    assert!(String::from_utf8_lossy(&text).ends_with("data: [DONE]\n\n"));
    stopping.await.expect("a stop");
    let ledger = plimsoll::ledger::Ledger::open(&folder.path().join("plimsoll.db")).expect("a ledger");
    let rows = ledger.reader().request(&answer.header("plimsoll-request-id")).expect("rows");
    let found = serde_json::to_value(&rows[0]).expect("JSON");
    assert_eq!((&found["output_tokens"], &found["ending"]), (&json!(200), &json!("complete")), "{found}");
    assert_eq!(provider.totals().output_tokens, 200);
}
