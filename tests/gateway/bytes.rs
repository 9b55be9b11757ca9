//! What no rule touches goes through byte for byte, both ways, as it comes.

use std::io::Write;
use std::time::Duration;

use ::bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Request, StatusCode};
use plimsoll::sim::{Canned, End, Framing};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CHAT, GENERATE, MESSAGES, chat, each_dialect, plain, post, row, with};
use crate::harness::{Exchange, KEY, Rig};

const ODD_BODIES: [(&str, &str); 3] = [
    (
        CHAT,
        "{ \"messages\" :\t[ {\"role\":\"user\",\"content\":\"h\\u00e9llo \\ud83d\\ude00 \\/ ü\"} ] ,\r\n \"model\":\"gpt-4o\",\"x_unknown\":{\"model\":[1.0,1e3,null,-0]} }  \n",
    ),
    (
        MESSAGES,
        "\n{\"max_tokens\":   64,\"x\":\"\\u0000\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u2028 hi\"}]}],\"model\":\"claude\\u002dsonnet-4-5\"}",
    ),
    (
        GENERATE,
        "{\"contents\":[{\"parts\":[{\"text\":\"a\"}]}],\"generation_config\":{\"max_output_tokens\":7},\"z\":[]}",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_no_rule_acts_on_is_forwarded_byte_for_byte() {
    let rig = plain().await;
    for (path, body) in ODD_BODIES {
        let reply = rig.send(with(post(path), body)).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text());
        let seen = rig.provider.requests().pop().expect("a forwarded request");
        assert_eq!(seen.body, body, "{path}");
        assert_eq!(seen.headers["content-length"], body.len().to_string());
        assert_eq!(reply.header("plimsoll-decision"), "");
    }
    rig.stop().await;
}

async fn client(rig: &Rig) -> TcpStream {
    let tcp = TcpStream::connect(rig.node.data_address()).await.expect("a connection");
    tcp.set_nodelay(true).expect("an open socket");
    tcp
}

/// A request over a socket, its body written piece by piece, and the answer to its end.
async fn in_pieces(tcp: &mut TcpStream, chunked: bool, pieces: &[&[u8]]) -> String {
    let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
    let framing = if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {length}") };
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\nplimsoll-tenant-id: globex\r\n{framing}\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).await.expect("a head is written");
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        let (before, after) = if chunked { (format!("{:x}\r\n", piece.len()), "\r\n") } else { (String::new(), "") };
        tcp.write_all(&[before.as_bytes(), piece, after.as_bytes()].concat()).await.expect("a piece is written");
        // Long enough for the gateway to read this piece alone, mostly.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if chunked {
        tcp.write_all(b"0\r\n\r\n").await.expect("the end is written");
    }
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        assert!(tcp.read_buf(&mut answer).await.expect("bytes") > 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).expect("text")
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.map_or_else(|| body.ends_with("0\r\n\r\n"), |length| body.len() == length)
}

/// What a body is cut into at these places.
fn cut<'b>(body: &'b [u8], places: &[usize]) -> Vec<&'b [u8]> {
    let ends = places.iter().copied().filter(|place| *place < body.len()).chain([body.len()]);
    let starts = std::iter::once(0).chain(places.iter().copied());
    starts.zip(ends).map(|(start, end)| &body[start..end]).collect()
}

// Mutations: the first piece is lost when more come; what comes after it is put in front.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_in_odd_pieces_is_what_it_is_in_one() {
    let rig = plain().await;
    let mut tcp = client(&rig).await;
    let (_, odd) = ODD_BODIES[0];
    for place in 1..odd.len() {
        in_pieces(&mut tcp, false, &cut(odd.as_bytes(), &[place])).await;
        assert_eq!(rig.provider.requests().pop().expect("a forwarded request").body, odd, "{place}");
    }
    let prompt = "All \u{e9}\u{1f600} work\n\\ \"no\" play. ".repeat(5_000);
    let long = chat(&prompt).to_string();
    let edited = long.replacen('{', "{\"stream\":true,", 1);
    for (body, is_edited) in [(&long, false), (&edited, true)] {
        assert_eq!(rig.send(with(post(CHAT), body.clone())).await.status, StatusCode::OK);
        let whole = rig.provider.requests().pop().expect("a forwarded request").body;
        assert_eq!(whole != body.as_bytes(), is_edited);
        for places in [&[][..], &[1, 2, 3], &[8_190, 8_191, 40_001], &[65_536, 131_071, 131_073], &[150_000]] {
            for chunked in [false, true] {
                let answer = in_pieces(&mut tcp, chunked, &cut(body.as_bytes(), places)).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{places:?}: {answer}");
                let seen = rig.provider.requests().pop().expect("a forwarded request");
                assert!(seen.body == whole, "{places:?}, chunked: {chunked}");
                assert_eq!(seen.headers["content-length"], whole.len().to_string());
            }
        }
    }
    rig.stop().await;
}

// Mutation: what came last alone is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_a_body_has_its_place_whatever_pieces_it_came_in() {
    let rig = plain().await;
    let mut tcp = client(&rig).await;
    let padding = "x".repeat(140_000);
    for (body, place) in [("{\"a\":tru}", 5), ("{\"a\":\"\\ud83d\\x\"}", 12), ("{\"p\":\"PADDING\",\"a\":1,}", 140_014)]
    {
        let body = body.replace("PADDING", &padding);
        for places in [&[][..], &[7], &[14, 65_536], &[140_010]] {
            let answer = in_pieces(&mut tcp, false, &cut(body.as_bytes(), places)).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{places:?}: {answer}");
            assert!(answer.contains(&format!("at byte {place} ")), "{places:?}: {answer}");
        }
    }
    assert!(rig.provider.requests().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_passed_on_with_its_own_headers_and_bytes() {
    let rig = plain().await;
    let body = "{ \"id\":\"x\",\r\n\t\"model\":\"gpt-4o\", \"odd\": \"\\u00e9\", \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9,\"total_tokens\":16} }\n\n";
    for framing in [Framing::Length, Framing::Chunked] {
        let canned = Canned::new(200, "application/json; charset=odd", body)
            .with_header("set-cookie", "a=1")
            .with_header("set-cookie", "b=2")
            .with_header("x-request-id", "req_of_the_provider")
            .with_header("x-ratelimit-remaining-requests", "14999")
            .with_header("x-odd", "  kept,  as it is");
        rig.provider.enqueue(Canned { framing, ..canned.in_pieces(&[1, 7, 30]) });
        let reply = rig.send(with(post(CHAT), chat("hello").to_string())).await;
        assert_eq!(reply.body, body);
        assert_eq!(reply.header("content-type"), "application/json; charset=odd");
        assert_eq!(reply.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(reply.header("x-request-id"), "req_of_the_provider");
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), "14999");
        assert_eq!(reply.header("x-odd"), "kept,  as it is");
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        assert_eq!((&found["input_tokens"], &found["output_tokens"]), (&json!(7), &json!(9)));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_says_what_was_decided_under_which_policy() {
    let rig = plain().await;
    for (path, body) in each_dialect("hello").into_iter().chain(each_dialect("[[status=500]]")) {
        let reply = rig.send(with(post(path), body)).await;
        for name in ["plimsoll-request-id", "plimsoll-policy", "plimsoll-model-requested", "plimsoll-model-served"] {
            assert!(!reply.header(name).is_empty(), "{path} has no {name}");
        }
        assert!(reply.header("plimsoll-policy").starts_with("r1 "));
        assert!(reply.header("server-timing").contains("plimsoll;dur="), "{}", reply.header("server-timing"));
        assert!(reply.header("server-timing").contains("upstream;dur="), "{}", reply.header("server-timing"));
        assert!(reply.header("access-control-expose-headers").contains("plimsoll-request-id"));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_reaches_the_client_before_the_next_one_is_sent() {
    let rig = plain().await;
    let stream = json!({ "model": "gpt-4o", "stream": true, "messages": [] }).to_string();
    let anthropic =
        json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "stream": true, "messages": [] }).to_string();
    let gemini = "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n";
    for (path, body, first) in [
        (CHAT, stream.as_str(), event),
        (MESSAGES, anthropic.as_str(), "event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        (&format!("{gemini}?alt=sse"), "{\"contents\":[]}", "data: {\"candidates\":[]}\r\n\r\n"),
        (gemini, "{\"contents\":[]}", "[{\"candidates\":[]}\n"),
    ] {
        // The provider says one thing and then nothing for ever.
        rig.provider.enqueue(Canned { end: End::Stall, ..Canned::new(200, "text/event-stream", first) });
        let mut answer = Exchange::open(rig.node.data_address(), with(post(path), body.to_owned())).await;
        assert_eq!(answer.status, StatusCode::OK);
        let came = answer.next().await.expect("an event").expect("no cut");
        assert_eq!(came, first, "{path}");
    }
}

async fn streamed(rig: &Rig, options: Option<Value>) -> (String, Value, Bytes, Value) {
    let mut body = chat("[[tokens=20]] hello");
    body["stream"] = json!(true);
    if let Some(options) = options {
        body["stream_options"] = options;
    }
    let sent = Bytes::from(body.to_string());
    let reply = rig.send(with(post(CHAT), sent.clone())).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert!(!reply.cut && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    let seen = rig.provider.requests().pop().expect("a forwarded request").body;
    let asked: Value = serde_json::from_slice(&seen).expect("JSON");
    (reply.text(), asked, sent, row(rig, reply.header("plimsoll-request-id")).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_always_asked_for_and_shown_only_to_those_who_asked() {
    let rig = plain().await;
    for options in [None, Some(json!({ "include_usage": false })), Some(json!({})), Some(Value::Null)] {
        let (text, asked, _, found) = streamed(&rig, options.clone()).await;
        assert_eq!(asked["stream_options"]["include_usage"], true, "{options:?}");
        assert!(!text.contains("\"choices\":[]"), "{options:?}: {text}");
        assert_eq!((&found["output_tokens"], &found["basis"]), (&json!(20), &json!("exact")), "{options:?}");
        assert_eq!(found["stream"], true);
    }
    let (text, _, sent, found) = streamed(&rig, Some(json!({ "include_usage": true }))).await;
    assert_eq!(rig.provider.requests().pop().expect("a request").body, sent);
    assert!(text.contains("\"choices\":[]"), "{text}");
    assert_eq!((&found["output_tokens"], &found["basis"]), (&json!(20), &json!("exact")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_answer_stays_compressed_and_is_metered() {
    let rig = plain().await;
    let plain =
        "{\"model\":\"gpt-4o-2024-08-06\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22}}";
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain.as_bytes()).expect("memory");
    let zipped = Bytes::from(encoder.finish().expect("memory"));
    let canned = Canned::new(200, "application/json", zipped.clone()).with_header("content-encoding", "gzip");
    rig.provider.enqueue(Canned { framing: Framing::Length, ..canned.in_pieces(&[10]) });
    let reply = rig.send(with(post(CHAT).header("accept-encoding", "gzip, br"), chat("hello").to_string())).await;
    assert_eq!(reply.body, zipped);
    assert_eq!(reply.header("content-encoding"), "gzip");
    assert_eq!(rig.provider.requests()[0].headers["accept-encoding"], "gzip, br");
    let found = row(&rig, reply.header("plimsoll-request-id")).await;
    assert_eq!((&found["input_tokens"], &found["output_tokens"]), (&json!(11), &json!(22)));
    assert_eq!((&found["basis"], &found["model_answered"]), (&json!("exact"), &json!("gpt-4o-2024-08-06")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gemini_stream_as_an_array_is_metered_like_one_of_events() {
    let rig = plain().await;
    for query in ["", "?alt=sse"] {
        let path = format!("/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent{query}");
        let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "[[tokens=33]] hello" }] }] });
        let reply = rig.send(with(post(&path), body.to_string())).await;
        assert_eq!(reply.status, StatusCode::OK);
        if query.is_empty() {
            assert!(reply.json().as_array().is_some_and(|events| events.len() > 1), "{}", reply.text());
        }
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        let bill = rig.provider.bill().pop().expect("a bill");
        assert_eq!(found["input_tokens"], bill.input_tokens);
        assert_eq!((&found["output_tokens"], &found["basis"]), (&json!(33), &json!("exact")));
        assert_eq!((&found["model_requested"], &found["stream"]), (&json!("gemini-2.5-flash"), &json!(true)));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_alive_connection_serves_one_call_after_another() {
    let rig = plain().await;
    let body = chat("[[tokens=3]]").to_string();
    let one = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let last = format!(
        "GET /openai/v1/models HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\r\n"
    );
    let answer = crate::harness::raw(rig.node.data_address(), format!("{one}{one}{last}").as_bytes()).await;
    assert!(answer.closed);
    assert_eq!(answer.text.matches("HTTP/1.1 200 OK").count(), 3, "{}", answer.text);
    assert_eq!(rig.provider.requests().len(), 3);
    let head = Request::head("/openai/v1/models").header("authorization", format!("Bearer {KEY}"));
    let reply = rig.send(with(head, "")).await;
    assert!(reply.body.is_empty() && !reply.header("plimsoll-request-id").is_empty());
    rig.stop().await;
}
