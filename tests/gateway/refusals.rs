//! What is turned away before it costs anything, how it is said, and that nothing of it reaches a provider.

use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CHAT, MESSAGES, anonymous, chat, each_dialect, plain, post, reason, with};
use crate::harness::{KEY, Rig, Setup, raw};

/// The head of a POST over a raw socket, with further header lines.
fn head(path: &str, lines: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\n{lines}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_be_judged_is_refused_in_the_dialects_shape() {
    let rig = plain().await;
    let classes = ["malformed_request", "invalid_request_error", "INVALID_ARGUMENT"];
    for ((path, _), class) in each_dialect("").into_iter().zip(classes) {
        for body in ["", "{", "[1]", "null", "{\"a\":1} x", "{\"a\":1,}", "{\"a\":\"\u{1}\"}", "\u{feff}{}"] {
            let reply = rig.send(with(post(path), body)).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path} {body:?}: {}", reply.text());
            assert_eq!(reason(path, &reply), ("malformed_request".to_owned(), class.to_owned()), "{body:?}");
        }
    }
    let deep = format!("{{\"model\":\"gpt-4o\",\"x\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(rig.send(with(post(CHAT), deep)).await.status, StatusCode::BAD_REQUEST);
    assert!(rig.provider.requests().is_empty());
    // Some clients offer h2c in passing; it is not taken up, and the call goes on.
    let offer = Request::get(CHAT).header("authorization", format!("Bearer {KEY}")).header("upgrade", "h2c");
    let reply = rig.send(with(offer.header("connection", "upgrade"), "")).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(!rig.provider.requests()[0].headers.contains_key("upgrade"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_two_readers_could_read_differently_is_refused_and_named() {
    let rig = plain().await;
    for (fields, param) in [
        (r#""model":"gpt-4o","model":"gpt-4o-mini""#, "model"),
        (r#""model":"gpt-4o","Model":"gpt-4o-mini""#, "model"),
        (r#""model":"gpt-4o","mod\u0065l":"gpt-4o-mini""#, "model"),
        (r#""model":7"#, "model"),
        (r#""model":"gpt-4o","max_tokens":-1"#, "max_tokens"),
        (r#""model":"gpt-4o","max_tokens":1e18"#, "max_tokens"),
        (r#""model":"gpt-4o","max_tokens":1.5"#, "max_tokens"),
        (r#""model":"gpt-4o","max_tokens":"9""#, "max_tokens"),
        (r#""model":"gpt-4o","max_completion_tokens":99999999999999999999"#, "max_completion_tokens"),
        (r#""model":"gpt-4o","n":1000000000000"#, "n"),
        (r#""model":"gpt-4o","stream":"true""#, "stream"),
    ] {
        let reply = rig.send(with(post(CHAT), format!("{{\"messages\":[],{fields}}}"))).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{fields}: {}", reply.text());
        let error = &reply.json()["error"];
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!("malformed_request")), "{fields}");
    }
    assert!(rig.provider.requests().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_accepts_problem_documents_gets_one() {
    let rig = plain().await;
    let request = post(MESSAGES).header("accept", "application/problem+json");
    let reply = rig.send(with(request, "{")).await;
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let problem = reply.json();
    assert_eq!((&problem["status"], &problem["reason"]), (&json!(400), &json!("malformed_request")));
    assert_eq!(problem["request_id"], reply.header("plimsoll-request-id"));
    let reply = rig.send(with(post(MESSAGES), "{")).await;
    assert_eq!(reply.header("content-type"), "application/json");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_above_the_limit_is_refused_announced_or_not() {
    let rig = Rig::start(Setup { config: "limits: { body: 1 KiB }\n", ..Setup::default() }).await;
    let large = "x".repeat(2_048);
    for ((path, _), class) in
        each_dialect("").into_iter().zip(["body_too_large", "request_too_large", "INVALID_ARGUMENT"])
    {
        let reply = rig.send(with(post(path), large.clone())).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert_eq!(reason(path, &reply), ("body_too_large".to_owned(), class.to_owned()));
    }
    let chunked =
        format!("{}800\r\n{large}\r\n0\r\n\r\n", head(CHAT, "transfer-encoding: chunked\r\nconnection: close\r\n"));
    let answer = raw(rig.node.data_address(), chunked.as_bytes()).await;
    assert_eq!(answer.status(), 413, "{answer:?}");
    let reply = rig.send(with(post(CHAT).header("content-encoding", "gzip"), chat("hello").to_string())).await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(rig.provider.requests().is_empty());
    assert_eq!(rig.send(with(post(CHAT), chat("hello").to_string())).await.status, StatusCode::OK);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_head_and_an_idle_connection_are_closed_and_a_slow_answer_is_not() {
    let config = "limits: { header_timeout: 300 ms, idle_timeout: 300 ms }\n";
    let rig = Rig::start(Setup { config, ..Setup::default() }).await;
    let address = rig.node.data_address();
    let unfinished = "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: gate";
    let (slow_head, nothing) = tokio::join!(raw(address, unfinished.as_bytes()), raw(address, b""));
    assert!(slow_head.closed && nothing.closed, "{slow_head:?} {nothing:?}");
    let answered = head("/openai/v1/models", "").replace("POST", "GET");
    let idle = raw(address, answered.as_bytes()).await;
    assert!(idle.closed && idle.status() == 200, "{idle:?}");
    assert_eq!(rig.chat("globex", "a", &chat("[[delay=900]]")).await.status, StatusCode::OK);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_too_slowly_is_refused_and_closed() {
    let rig = plain().await;
    let answer = raw(rig.node.data_address(), format!("{}{{", head(CHAT, "content-length: 100\r\n")).as_bytes()).await;
    assert_eq!(answer.status(), 408, "{answer:?}");
    assert!(answer.closed, "{answer:?}");
    assert!(rig.provider.requests().is_empty());
    rig.stop().await;
}

// Mutation: a head may be as long as what hyper reads at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_large_or_malformed_is_refused() {
    let rig = plain().await;
    let huge = format!("x-huge: {}\r\n", "h".repeat(130 * 1024));
    let many = "x-a: 1\r\n".repeat(100);
    for (name, lines) in [
        ("huge", huge.as_str()),
        ("many", many.as_str()),
        ("a control character", "x-a: \x01\r\n"),
        ("folded", "x-a: 1\r\n folded: 2\r\n"),
        ("no colon", "x-a\r\n"),
    ] {
        let answer = raw(rig.node.data_address(), head(CHAT, lines).as_bytes()).await;
        assert!((400..500).contains(&answer.status()), "{name}: {answer:?}");
        assert!(answer.closed, "{name}");
    }
    assert!(rig.provider.requests().is_empty());
    // A head that hyper would still take is refused in the dialect's shape, and one of 64 KiB is passed on.
    let sized = |bytes: usize| {
        let lines = |fill: &str| format!("connection: close\r\ncontent-length: 2\r\nx-fill: {fill}\r\n");
        let text = head(CHAT, &lines(""));
        let lengths =
            text.lines().filter_map(|line| line.split_once(": ")).map(|(name, value)| name.len() + value.len());
        let length = CHAT.len() + lengths.sum::<usize>();
        head(CHAT, &lines(&"f".repeat(bytes - length))) + "{}"
    };
    let longest = raw(rig.node.data_address(), sized(64 << 10).as_bytes()).await;
    assert_eq!((longest.status(), rig.provider.requests().len()), (400, 1), "{longest:?}");
    let longer = raw(rig.node.data_address(), sized((64 << 10) + 1).as_bytes()).await;
    assert!(longer.status() == 431 && longer.text.contains("head_too_large"), "{longer:?}");
    assert_eq!(rig.provider.requests().len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_length_is_ambiguous_never_becomes_two() {
    let rig = plain().await;
    let second = format!(
        "POST /openai/v1/smuggled HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\ncontent-length: 0\r\n\r\n"
    );
    for lines in [
        "content-length: 4\r\ncontent-length: 0\r\n",
        "content-length: +4\r\n",
        "content-length: 0x4\r\n",
        "content-length: 4, 0\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
    ] {
        let body = "0\r\n\r\n";
        let answer = raw(rig.node.data_address(), format!("{}{body}{second}", head(CHAT, lines)).as_bytes()).await;
        assert!((400..500).contains(&answer.status()), "{lines:?}: {answer:?}");
        assert!(answer.closed, "{lines:?}: {answer:?}");
        let smuggled = rig.provider.requests().iter().any(|seen| seen.path.contains("smuggled"));
        assert!(!smuggled, "{lines:?}");
    }
    for chunk in ["-1\r\n", "0x1\r\na\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "1\r\nab\r\n0\r\n\r\n"] {
        let text = format!("{}{chunk}{second}", head(CHAT, "transfer-encoding: chunked\r\n"));
        let answer = raw(rig.node.data_address(), text.as_bytes()).await;
        assert!(answer.closed && !answer.text.contains("HTTP/1.1 200"), "{chunk:?}: {answer:?}");
    }
    assert!(rig.provider.requests().is_empty(), "{:?}", rig.provider.requests());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_with_two_readings_goes_nowhere() {
    let rig = plain().await;
    for path in [
        "/openai//v1/chat/completions",
        "//openai/v1/chat/completions",
        "/openai/../anthropic/v1/messages",
        "/openai/./v1/chat/completions",
        "/openai/%2e%2e/anthropic/v1/messages",
        "/openai/v1/chat%2Fcompletions",
        "/openai/v1/chat/completions;x=1",
        "/openai/v1/chat/%00completions",
        "/openai/v1/chat/completions%zz",
        "/@endpointTag=a",
    ] {
        let text = format!("{}{{}}", head(path, "connection: close\r\ncontent-length: 2\r\n"));
        let answer = raw(rig.node.data_address(), text.as_bytes()).await;
        assert_eq!(answer.status(), 400, "{path}: {answer:?}");
        assert!(answer.text.contains("more than one reading"), "{path}: {answer:?}");
    }
    assert!(rig.provider.requests().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_not_configured_is_named() {
    let rig = plain().await;
    let reply = rig.send(with(post("/mistral/v1/chat/completions"), chat("hello").to_string())).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.json()["error"]["code"], "unknown_provider");
    assert!(reply.json()["error"]["message"].as_str().is_some_and(|message| message.contains("`mistral`")));
    for path in ["/", "/favicon.ico", "/openaix/v1/models"] {
        let reply = rig.send(with(anonymous(path), "")).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_not_spoken() {
    let rig = plain().await;
    for (protocol, path) in [("websocket", "/openai/v1/realtime"), ("h2x", CHAT)] {
        let request = Request::get(path)
            .header("authorization", format!("Bearer {KEY}"))
            .header("connection", "upgrade")
            .header("upgrade", protocol);
        let reply = rig.send(with(request, "")).await;
        assert_eq!(reply.status, StatusCode::NOT_IMPLEMENTED, "{protocol}");
    }
    let mut tcp = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
    tcp.write_all(b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .expect("a write");
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(2), tcp.read_to_string(&mut answer)).await;
    assert!(read.is_ok() && answer.starts_with("HTTP/1.1 501"), "{answer}");
    assert!(rig.provider.requests().is_empty());
    rig.stop().await;
}
