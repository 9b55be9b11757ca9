//! Canned answers, faults, broken connections and clients that leave: what is sent, and what is billed then.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{call, chat, client, post, provider};
use crate::sim::{BillLine, Canned, End, Fault, Framing, Provider, Script};

/// Everything that comes over a socket until it ends, and how it ends.
async fn raw(provider: &Provider, path: &str, body: &str) -> (Vec<u8>, std::io::Result<usize>) {
    let mut socket = TcpStream::connect(provider.address()).await.expect("a connection");
    let request = format!("POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.expect("a write");
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut bytes)).await.expect("an end");
    (bytes, ended)
}

async fn settled(provider: &Provider) -> BillLine {
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if provider.totals().output_tokens > 0 {
            break;
        }
    }
    provider.bill().pop().expect("a line")
}

#[tokio::test]
async fn a_canned_answer_comes_byte_for_byte_with_its_own_boundaries() {
    let provider = provider().await;
    let body = Bytes::from_static("data: {\"text\":\"grüße\"}\n\ndata: [DONE]\n\n".as_bytes());
    let bill = BillLine { model: "m".to_owned(), output_tokens: 3, billed: true, ..BillLine::default() };
    let canned = Canned {
        bill: Some(bill),
        gap: Duration::from_millis(1),
        ..Canned::new(200, "text/event-stream", body.clone())
    };
    provider.replay("nonce-1", canned.in_pieces(&[3, 0, 16]).with_header("x-recorded", "yes"));
    let mut request = post(&provider, "/v1/anything", &json!({}));
    request.headers_mut().insert("x-sim-replay", "nonce-1".parse().expect("a value"));
    let mut response = client().request(request).await.expect("an answer");
    assert_eq!(response.headers()["x-recorded"], "yes");
    let mut pieces = Vec::new();
    while let Some(frame) = response.frame().await {
        pieces.push(frame.expect("a frame").into_data().expect("data"));
    }
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [3, 16, 3, 16, 2]);
    assert_eq!(pieces.concat(), body);
    assert_eq!(provider.totals().output_tokens, 3);
}

#[tokio::test]
async fn canned_answers_and_faults_are_served_in_turn() {
    let provider = provider().await;
    provider.enqueue(Canned { framing: Framing::Length, ..Canned::new(418, "text/plain", "short") });
    provider.fail_next(Fault::Status { status: 429, retry_after: Some(17) });
    provider.fail_next(Fault::Status { status: 529, retry_after: None });
    let (status, headers, text) = call(&provider, "/v1/chat/completions", &chat(&json!({}))).await;
    assert_eq!(
        (status.as_u16(), headers["content-length"].to_str().expect("text"), text.as_str()),
        (418, "5", "short")
    );
    let (status, headers, text) = call(&provider, "/v1/chat/completions", &chat(&json!({}))).await;
    assert_eq!((status.as_u16(), headers["retry-after"].to_str().expect("text")), (429, "17"));
    assert!(text.contains("rate_limit_exceeded"));
    let messages = json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": []});
    let (status, _, text) = call(&provider, "/v1/messages", &messages).await;
    assert!(status.as_u16() == 529 && text.contains("overloaded_error"));
    assert_eq!(call(&provider, "/v1/chat/completions", &chat(&json!({}))).await.0, 200);
    assert_eq!(provider.bill().iter().map(|line| line.billed).collect::<Vec<_>>(), [false, false, false, true]);
}

#[tokio::test]
async fn a_mark_in_the_prompt_makes_the_dialects_own_error() {
    let provider = provider().await;
    let body = json!({"contents": [{"parts": [{"text": "Hi [[status=429]]"}]}]});
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let (status, headers, text) = call(&provider, path, &body).await;
    assert_eq!(status, 429);
    assert!(!headers.contains_key("retry-after"));
    assert!(text.contains("RESOURCE_EXHAUSTED") && text.contains("\"retryDelay\":\"1s\""));
}

#[tokio::test]
async fn a_cut_sends_so_many_bytes_and_bills_what_was_said() {
    let provider = provider().await;
    let body = chat(&json!({"stream": true}));
    let whole = call(&provider, "/v1/chat/completions", &body).await.2;
    provider.clear();
    provider.fail_next(Fault::Cut { after: whole.len() / 2, reset: false });
    let mut response = client().request(post(&provider, "/v1/chat/completions", &body)).await.expect("a head");
    let (mut received, mut broken) = (0, false);
    while let Some(frame) = response.frame().await {
        match frame {
            Ok(frame) => received += frame.into_data().expect("data").len(),
            Err(_) => broken = true,
        }
    }
    assert_eq!((received, broken), (whole.len() / 2, true));
    let line = settled(&provider).await;
    assert!((10..30).contains(&line.output_tokens), "{line:?}");
    assert!(line.billed && !line.finished);
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_cut_is_a_fin() {
    let provider = provider().await;
    let body = chat(&json!({"stream": true})).to_string();
    provider.fail_next(Fault::Cut { after: 100, reset: true });
    let (_, ended) = raw(&provider, "/v1/chat/completions", &body).await;
    assert_eq!(ended.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
    provider.fail_next(Fault::Cut { after: 100, reset: false });
    let (bytes, ended) = raw(&provider, "/v1/chat/completions", &body).await;
    assert!(ended.is_ok() && !bytes.ends_with(b"0\r\n\r\n"));
    let canned = Canned { end: End::Close, framing: Framing::Length, ..Canned::new(200, "text/plain", "half") };
    provider.enqueue(canned);
    let (bytes, ended) = raw(&provider, "/", "").await;
    assert!(ended.is_ok() && bytes.ends_with(b"half"));
    assert!(String::from_utf8_lossy(&bytes).contains("content-length: 5"));
}

#[tokio::test]
async fn a_client_that_leaves_is_billed_as_the_script_says() {
    for (bills_after_cancel, expected) in [(true, 500..=500), (false, 1..=100)] {
        let script = Script { token_delay: Duration::from_millis(5), bills_after_cancel, ..Script::default() };
        let provider = Provider::start(script).await.expect("a loopback socket");
        let body =
            json!({"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "[[tokens=500]]"}]});
        let mut response = client().request(post(&provider, "/v1/chat/completions", &body)).await.expect("a head");
        for _ in 0..4 {
            response.frame().await.expect("a frame").expect("bytes");
        }
        drop(response);
        let line = settled(&provider).await;
        assert!(expected.contains(&line.output_tokens) && !line.finished, "{line:?}");
    }
}

#[tokio::test]
async fn a_stall_is_silence_until_the_provider_stops() {
    let provider = provider().await;
    provider.fail_next(Fault::Stall { after: 50 });
    let mut response =
        client().request(post(&provider, "/v1/chat/completions", &chat(&json!({})))).await.expect("a head");
    let first = response.frame().await.expect("a frame").expect("bytes").into_data().expect("data");
    assert_eq!(first.len(), 50);
    assert!(tokio::time::timeout(Duration::from_millis(50), response.frame()).await.is_err());
    provider.stop().await;
    assert!(!provider.bill()[0].finished);
}

#[tokio::test]
async fn keeps_what_reached_it_and_checks_the_key() {
    let script = Script { key: Some("sk-provider".to_owned()), ..Script::default() };
    let provider = Provider::start(script).await.expect("a loopback socket");
    let send = |name: &'static str, value: &'static str| {
        let mut request = post(&provider, "/v1/chat/completions?x=1", &chat(&json!({})));
        request.headers_mut().insert(name, value.parse().expect("a value"));
        client().request(request)
    };
    assert_eq!(send("authorization", "Bearer plim_caller").await.expect("an answer").status(), 401);
    assert_eq!(send("authorization", "Bearer sk-provider").await.expect("an answer").status(), 200);
    assert_eq!(send("x-api-key", "sk-provider").await.expect("an answer").status(), 200);
    let seen = provider.requests();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].path, "/v1/chat/completions?x=1");
    assert_eq!(seen[1].headers["authorization"], "Bearer sk-provider");
    assert_eq!(seen[1].body, chat(&json!({})).to_string());
}

#[tokio::test]
async fn models_can_be_listed_and_odd_requests_do_no_harm() {
    let provider = provider().await;
    let request = Request::get(format!("{}/v1/models", provider.base_url())).body(Full::<Bytes>::default());
    assert_eq!(client().request(request.expect("a request")).await.expect("an answer").status(), 200);
    for body in [
        "",
        "[]",
        "{",
        "{\"model\":1}",
        "\u{feff}",
        "{\"model\":\"m\",\"messages\":\"[[tokens=99999999999999999999]]\"}",
    ] {
        let (bytes, _) = raw_head(&provider, body).await;
        assert!(bytes.starts_with(b"HTTP/1.1 4") || bytes.starts_with(b"HTTP/1.1 2"));
    }
}

/// As `raw`, with a connection that closes after one answer.
async fn raw_head(provider: &Provider, body: &str) -> (Vec<u8>, std::io::Result<usize>) {
    let path = "/v1/chat/completions HTTP/1.1\r\nconnection: close\r\nx-rest:";
    raw(provider, path, body).await
}
