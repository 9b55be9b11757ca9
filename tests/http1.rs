//! HTTP/1.1 towards providers (`src/wire/http1.rs`), beside what hyper makes of the same bytes.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use plimsoll::wire::http1::{AnswerHead, Body, Malformed, answer_head, request_head};

fn head_text(request: &Request<()>, length: u64) -> String {
    String::from_utf8(request_head(request, length)).expect("text")
}

#[test]
fn a_request_says_its_length_where_it_has_a_body_or_is_expected_to() {
    let request = |method: &str| {
        let request = Request::builder().method(method).uri("/v1/chat/completions?a=b");
        request
            .header("host", "api.example.com")
            .header("X-Tag", "one")
            .header("x-tag", "")
            .body(())
            .expect("a request")
    };
    insta::assert_snapshot!(head_text(&request("POST"), 12), @r"
    POST /v1/chat/completions?a=b HTTP/1.1
    host: api.example.com
    x-tag: one
    x-tag: 
    content-length: 12
    ");
    assert!(head_text(&request("POST"), 0).ends_with("\r\ncontent-length: 0\r\n\r\n"));
    for without in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        assert!(!head_text(&request(without), 0).contains("content-length"), "{without}");
    }
    assert!(head_text(&request("DELETE"), 3).ends_with("\r\ncontent-length: 3\r\n\r\n"));
}

/// What is understood of an answer: status, how its body ends, whether the connection may be kept; or why it is refused.
fn understood(head: &str, to: &Method) -> String {
    match answer_head(head.as_bytes(), to) {
        Ok(None) => "more to come".to_owned(),
        Ok(Some(AnswerHead { parts, body, keep_alive, length })) => {
            let kept = if keep_alive { "kept" } else { "closed" };
            let body = if let Body::Chunked(_) = body { "chunks".to_owned() } else { format!("{body:?}") };
            let rest = head.len() - length;
            format!(
                "{} {body}, {kept}{}",
                parts.status,
                if rest > 0 { format!(", {rest} follow") } else { String::new() }
            )
        }
        Err(error) => error.to_string(),
    }
}

fn told(answers: &[&str]) -> String {
    let lines = answers.iter().map(|answer| {
        let head = format!("HTTP/1.1 {}\r\n\r\n", answer.replace('|', "\r\n"));
        format!("{answer} => {}\n", understood(&head, &Method::POST))
    });
    lines.collect()
}

#[test]
fn an_answer_ends_in_one_place_or_is_refused() {
    insta::assert_snapshot!(told(&[
        "200 OK|Content-Length: 5",
        "200 OK|Content-Length: 0",
        "200 OK|Transfer-Encoding: chunked",
        "200 OK|transfer-encoding: CHUNKED|Connection: close",
        "200 OK",
        "204 No Content|Content-Length: 5",
        "304 Not Modified|Transfer-Encoding: chunked",
        "200 OK|Content-Length: 5|Connection: x, Close",
        "200 OK|Content-Length: 5|Connection: keep-alive|Connection: close",
        "200 OK|Content-Length: 5|Content-Length: 5",
        "200 OK|Content-Length: 5, 5",
        "200 OK|Content-Length: +5",
        "200 OK|Content-Length: 0x5",
        "200 OK|Content-Length:",
        "200 OK|Content-Length: 18446744073709551616",
        "200 OK|Content-Length: 5|Transfer-Encoding: chunked",
        "200 OK|Transfer-Encoding: gzip, chunked",
        "200 OK|Transfer-Encoding: chunked|Transfer-Encoding: chunked",
        "200 OK|Transfer-Encoding: identity",
        "200 OK|Transfer-Encoding:",
        "101 Switching Protocols|Upgrade: websocket",
        "099 Early",
        "200 OK|Content-Length : 5",
        "200 OK|X: a| folded",
        "200 OK|no colon",
    ]), @r#"
    200 OK|Content-Length: 5 => 200 OK Length(5), kept
    200 OK|Content-Length: 0 => 200 OK Length(0), kept
    200 OK|Transfer-Encoding: chunked => 200 OK chunks, kept
    200 OK|transfer-encoding: CHUNKED|Connection: close => 200 OK chunks, closed
    200 OK => 200 OK UntilClose, closed
    204 No Content|Content-Length: 5 => 204 No Content Length(0), kept
    304 Not Modified|Transfer-Encoding: chunked => 304 Not Modified Length(0), kept
    200 OK|Content-Length: 5|Connection: x, Close => 200 OK Length(5), closed
    200 OK|Content-Length: 5|Connection: keep-alive|Connection: close => 200 OK Length(5), closed
    200 OK|Content-Length: 5|Content-Length: 5 => the length of an answer is not clear: `Content-Length` is said twice
    200 OK|Content-Length: 5, 5 => the length of an answer is not clear: `Content-Length` is not a number
    200 OK|Content-Length: +5 => the length of an answer is not clear: `Content-Length` is not a number
    200 OK|Content-Length: 0x5 => the length of an answer is not clear: `Content-Length` is not a number
    200 OK|Content-Length: => the length of an answer is not clear: `Content-Length` is not a number
    200 OK|Content-Length: 18446744073709551616 => the length of an answer is not clear: `Content-Length` is not a number
    200 OK|Content-Length: 5|Transfer-Encoding: chunked => the length of an answer is not clear: both `Content-Length` and `Transfer-Encoding` say it
    200 OK|Transfer-Encoding: gzip, chunked => the length of an answer is not clear: no transfer coding but `chunked` was asked for
    200 OK|Transfer-Encoding: chunked|Transfer-Encoding: chunked => the length of an answer is not clear: no transfer coding but `chunked` was asked for
    200 OK|Transfer-Encoding: identity => the length of an answer is not clear: no transfer coding but `chunked` was asked for
    200 OK|Transfer-Encoding: => the length of an answer is not clear: no transfer coding but `chunked` was asked for
    101 Switching Protocols|Upgrade: websocket => an answer changes the protocol, which was not asked for
    099 Early => the head of an answer cannot be read: invalid response status
    200 OK|Content-Length : 5 => the head of an answer cannot be read: invalid header name
    200 OK|X: a| folded => the head of an answer cannot be read: invalid header name
    200 OK|no colon => the head of an answer cannot be read: invalid header name
    "#);
}

#[test]
fn versions_before_1_1_are_closed_unless_they_say_otherwise() {
    let told = |rest: &str| understood(&format!("HTTP/{rest}\r\n\r\n"), &Method::POST);
    assert_eq!(told("1.0 200 OK\r\nContent-Length: 1"), "200 OK Length(1), closed");
    assert_eq!(told("1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive"), "200 OK Length(1), kept");
    assert_eq!(
        told("1.0 200 OK\r\nTransfer-Encoding: chunked"),
        "the length of an answer is not clear: HTTP/1.0 has no `Transfer-Encoding`"
    );
    assert_eq!(told("2.0 200 OK"), "the head of an answer cannot be read: invalid HTTP version");
}

#[test]
fn the_answer_to_head_has_no_body_and_interim_answers_are_passed_over() {
    assert_eq!(understood("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &Method::HEAD), "200 OK Length(0), kept");
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    assert_eq!(understood(interim, &Method::POST), "more to come");
    let answer = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(understood(&answer, &Method::POST), "200 OK Length(2), kept, 2 follow");
}

#[test]
fn headers_are_passed_on_as_they_came_and_a_reason_of_its_own_too() {
    let text =
        b"HTTP/1.1 429 Slow Down\r\nX-B: two\r\nx-a:  one \r\nX-b: \xffthree\r\nEmpty:\r\ncontent-length: 0\r\n\r\n";
    let head = answer_head(text, &Method::POST).expect("a head").expect("whole");
    let names = head.parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let told: Vec<_> = names.collect();
    let b: [(&str, &[u8]); 2] = [("x-b", b"two"), ("x-b", b"\xffthree")];
    let rest: [(&str, &[u8]); 3] = [("x-a", b"one"), ("empty", b""), ("content-length", b"0")];
    assert_eq!(told, [b.as_slice(), &rest].concat());
    assert!(head.keep_alive);
    assert_eq!(head.parts.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes), Some(b"Slow Down".as_slice()));
}

#[test]
fn what_is_no_text_is_not_passed_over_where_it_matters() {
    let told = |line: &[u8]| {
        let text = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", line, b"\r\n\r\n"].concat();
        answer_head(&text, &Method::POST).map(|head| head.map(|head| head.keep_alive))
    };
    assert_eq!(told(b"connection: \xff, close"), Ok(Some(false)));
    let unclear = Malformed::Length("no transfer coding but `chunked` was asked for");
    assert_eq!(told(b"transfer-encoding: \xff"), Err(unclear));
}

/// All that a body says of these bytes, in these pieces: its content, whether it is over, what is wrong, and what is left.
fn read(mut body: Body, bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, bool, Option<Malformed>, usize) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    let (mut content, mut at, mut left) = (Vec::new(), 0, 0);
    for end in ends {
        let (some, used) = body.read(&bytes[at..end]);
        content.extend_from_slice(&some);
        left += end - at - used;
        at = end;
    }
    (content, body.is_over(), body.malformed(), left)
}

fn chunks() -> Body {
    let head = answer_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &Method::POST);
    head.expect("a head").expect("whole").body
}

#[test]
fn chunks_that_could_be_read_in_two_ways_are_refused() {
    let told = |text: &str| {
        let (content, over, wrong, left) = read(chunks(), text.as_bytes(), &[]);
        let wrong =
            wrong.map_or_else(|| if over { "over".to_owned() } else { "more".to_owned() }, |wrong| wrong.to_string());
        format!("{text:?} => {:?}, {left} left, {wrong}\n", String::from_utf8_lossy(&content))
    };
    let texts = [
        "2\r\nhi\r\n0\r\n\r\n",
        "0002;a=b;c=\"d\"\r\nhi\r\nA \t\r\n0123456789\r\n00\r\nx: y\r\nz:\r\n\r\nmore",
        "2\r\nh",
        "\r\n",
        ";a\r\n",
        "2\nhi\r\n",
        "2;a\nhi\r\n",
        "2\r\rhi",
        "-2\r\nhi",
        "0x2\r\nhi",
        "1 0\r\nhi",
        "2\r\nhigh\r\n",
        "2\r\nhi\n0",
        "2\r\nhi\r0",
        "10000000000000002\r\nhi",
        "0\r\nx\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
    ];
    insta::assert_snapshot!(texts.map(told).concat(), @r#"
    "2\r\nhi\r\n0\r\n\r\n" => "hi", 0 left, over
    "0002;a=b;c=\"d\"\r\nhi\r\nA \t\r\n0123456789\r\n00\r\nx: y\r\nz:\r\n\r\nmore" => "hi0123456789", 4 left, over
    "2\r\nh" => "h", 0 left, more
    "\r\n" => "", 1 left, an answer's chunks cannot be read: a chunk without a size
    ";a\r\n" => "", 3 left, an answer's chunks cannot be read: a chunk without a size
    "2\nhi\r\n" => "", 4 left, an answer's chunks cannot be read: a line feed without a carriage return
    "2;a\nhi\r\n" => "", 4 left, an answer's chunks cannot be read: a line feed without a carriage return
    "2\r\rhi" => "", 2 left, an answer's chunks cannot be read: a carriage return without a line feed
    "-2\r\nhi" => "", 5 left, an answer's chunks cannot be read: a chunk's size is not a hexadecimal number
    "0x2\r\nhi" => "", 5 left, an answer's chunks cannot be read: a chunk's size is not a hexadecimal number
    "1 0\r\nhi" => "", 4 left, an answer's chunks cannot be read: a chunk's size is not a hexadecimal number
    "2\r\nhigh\r\n" => "hi", 3 left, an answer's chunks cannot be read: a chunk is longer than it says
    "2\r\nhi\n0" => "hi", 1 left, an answer's chunks cannot be read: a chunk is longer than it says
    "2\r\nhi\r0" => "hi", 0 left, an answer's chunks cannot be read: a chunk is longer than it says
    "10000000000000002\r\nhi" => "", 4 left, an answer's chunks cannot be read: a chunk's size is too large
    "0\r\nx\n\r\n" => "", 2 left, an answer's chunks cannot be read: a line feed without a carriage return
    "0\r\n\n" => "", 0 left, an answer's chunks cannot be read: a line feed without a carriage return
    "0\r\n\rx" => "", 0 left, an answer's chunks cannot be read: a carriage return without a line feed
    "#);
}

#[test]
fn extensions_and_trailers_have_an_end() {
    let long = "x".repeat(16 * 1024);
    for text in [format!("1;{long}"), format!("0\r\n{long}x"), "0".repeat(16 * 1024 + 1)] {
        let (_, _, wrong, _) = read(chunks(), text.as_bytes(), &[]);
        assert_eq!(wrong, Some(Malformed::Chunk("a chunk's extensions or the trailers are too long")));
    }
    // Of every chunk anew.
    let some = format!("1;{}\r\nx\r\n", "y".repeat(9_000));
    assert_eq!(read(chunks(), some.repeat(5).as_bytes(), &[]), (b"xxxxx".to_vec(), false, None, 0));
}

/// A body in chunks: its content and how it is sent.
fn chunked() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunk = (vec(any::<u8>(), 1..40), "(;[a-z=\"]{0,6})?", any::<bool>());
    let trailers = vec("[a-z]{1,4}: [a-z]{0,4}\r\n", 0..3);
    (vec(chunk, 0..6), trailers).prop_map(|(chunks, trailers)| {
        let (mut content, mut sent) = (Vec::new(), Vec::new());
        for (data, extension, upper) in chunks {
            let size = if upper { format!("{:X}", data.len()) } else { format!("{:03x}", data.len()) };
            sent.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            sent.extend_from_slice(&data);
            sent.extend_from_slice(b"\r\n");
            content.extend_from_slice(&data);
        }
        sent.extend_from_slice(format!("0\r\n{}\r\n", trailers.concat()).as_bytes());
        (content, sent)
    })
}

/// Answers as providers send them, with bytes changed here and there.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let head = prop_oneof![
        4 => Just("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        2 => Just("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX: y\r\n\r\n"),
        1 => Just("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\n"),
        1 => Just("HTTP/1.0 200 OK\r\n\r\n"),
        1 => Just("HTTP/1.1 204 No Content\r\n\r\n"),
    ];
    let changes =
        vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\n'), Just(b'0'), Just(b' ')]), 0..3);
    (head, chunked(), changes).prop_map(|(head, (_, body), changes)| {
        let mut answer = [head.as_bytes(), &body].concat();
        for (place, byte) in changes {
            let place = place.index(answer.len());
            answer[place] = byte;
        }
        answer
    })
}

/// Whether a body in chunks, which is whole, has trailers: then another chunk cannot stand in place of its last line.
fn has_trailers(body: &[u8]) -> bool {
    let lines = body.strip_suffix(b"\r\n\r\n").expect("an end");
    let last = lines.windows(2).rposition(|two| two == b"\r\n").map_or(0, |at| at + 2);
    let mut before = chunks();
    before.read(&lines[..last]);
    before.read(b"1\r\nx").0.is_empty()
}

/// Status, headers and content of an answer that is read whole, by us. Trailers are looked at by hyper alone.
fn ours(answer: &[u8]) -> Option<(u16, HeaderMap, Vec<u8>)> {
    let mut head = answer_head(answer, &Method::GET).ok()??;
    let body = &answer[head.length..];
    let (content, used) = head.body.read(body);
    let whole = head.body.is_over() || head.body == Body::UntilClose;
    let same = whole && !(matches!(head.body, Body::Chunked(_)) && has_trailers(&body[..used]));
    same.then(|| (head.parts.status.as_u16(), head.parts.headers, content.to_vec()))
}

/// The same by hyper's client.
async fn hypers(answer: Vec<u8>) -> Option<(u16, HeaderMap, Vec<u8>)> {
    let (near, mut far) = tokio::io::duplex(answer.len() + 1_024);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await.expect("a handshake");
    let exchange = async {
        let response = sender.send_request(Request::get("/").body(Empty::<Bytes>::new()).expect("a request"));
        let (head, body) = response.await.ok()?.into_parts();
        Some((head.status.as_u16(), head.headers, body.collect().await.ok()?.to_bytes().to_vec()))
    };
    let provider = async {
        let mut request = [0; 18];
        far.read_exact(&mut request).await.expect("a request");
        assert_eq!(&request, b"GET / HTTP/1.1\r\n\r\n");
        far.write_all(&answer).await.expect("room");
        far.shutdown().await.expect("an end");
    };
    let connection = async {
        let _ = connection.await;
    };
    tokio::join!(exchange, provider, connection).0
}

proptest! {
    #[test]
    fn chunks_in_any_pieces_are_the_content_and_nothing_after_it(
        (content, sent) in chunked(),
        after in vec(any::<u8>(), 0..8),
        cuts in vec(any::<usize>(), 0..4),
    ) {
        let whole = [sent.as_slice(), &after].concat();
        prop_assert_eq!(read(chunks(), &whole, &cuts), (content, true, None, after.len()));
        let (_, over, wrong, _) = read(chunks(), &sent[..sent.len() - 1], &cuts);
        prop_assert_eq!((over, wrong), (false, None));
    }

    #[test]
    fn a_length_is_kept_to(bytes in vec(any::<u8>(), 0..60), length in 0_u64..60, cuts in vec(any::<usize>(), 0..4)) {
        let most = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let left = bytes.len() - most;
        let is_over = bytes.len() as u64 >= length;
        prop_assert_eq!(read(Body::Length(length), &bytes, &cuts), (bytes[..most].to_vec(), is_over, None, left));
    }

    #[test]
    fn pieces_of_what_cannot_be_read_say_the_same_as_the_whole(answer in answers(), cuts in vec(any::<usize>(), 0..4)) {
        if let Ok(Some(head)) = answer_head(&answer, &Method::GET) {
            let body = &answer[head.length..];
            prop_assert_eq!(read(head.body.clone(), body, &cuts), read(head.body, body, &[]));
        }
    }

    #[test]
    fn what_is_read_of_an_answer_hyper_reads_too(answer in answers()) {
        if let Some(ours) = ours(&answer) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let text = String::from_utf8_lossy(&answer).into_owned();
            prop_assert_eq!(runtime.block_on(hypers(answer)), Some(ours), "{:?}", text);
        }
    }
}
