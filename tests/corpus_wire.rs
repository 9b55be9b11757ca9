//! Recorded provider traffic against the wire: every request is read and spliced, every answer is tapped, whole and in pieces.

use std::path::PathBuf;

use base64::Engine as _;
use bytes::Bytes;
use http::Method;
use plimsoll::wire::coding::{Coding, Decoder};
use plimsoll::wire::filter::UsageChunkFilter;
use plimsoll::wire::tap::{Answer, Tap};
use plimsoll::wire::{Dialect, Edits, Family, Framing, Operation, Target, operation};
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test may be told where the recordings are")]
    let folder = std::env::var("PLIMSOLL_CORPUS").unwrap_or_else(|_| "../shared/corpus".to_owned());
    let folder = PathBuf::from(folder);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no recordings at {}", folder.display());
    None
}

fn records(file: &str) -> Vec<Value> {
    let Some(folder) = corpus() else { return Vec::new() };
    let text = std::fs::read_to_string(folder.join(file).with_extension("jsonl")).expect("a file of recordings");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

fn text<'v>(record: &'v Value, path: &str) -> &'v str {
    record.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn dialect_of(record: &Value, family: Family, path: &str) -> &'static dyn Dialect {
    let target = Target { method: &Method::POST, path, query: None };
    match operation(family, &target) {
        Operation::Known(dialect) => dialect,
        other => panic!("{}: {path} is {other:?}", text(record, "/id")),
    }
}

/// Reads the request, applies no edits, then all of them; says how the answer will be framed.
fn check_request(record: &Value, dialect: &'static dyn Dialect, path: &str) -> Framing {
    let id = text(record, "/id");
    if text(record, "/request/fidelity") == "none" {
        return Framing::default();
    }
    let query = Some(text(record, "/request/query"));
    let target = Target { method: &Method::POST, path, query };
    let body = Bytes::copy_from_slice(text(record, "/request/body").as_bytes());
    let peek = dialect.peek(&target, &body).unwrap_or_else(|fault| panic!("{id}: {fault}"));
    let asked: Value = serde_json::from_slice(&body).expect("a JSON body");
    if let Some(model) = asked.get("model").and_then(Value::as_str).filter(|_| dialect.family() != Family::Gemini) {
        assert_eq!(peek.model.as_deref(), Some(model), "{id}");
    }
    // A stored prompt may name the model.
    assert!(peek.model.is_some() || asked.get("prompt").is_some(), "{id}: {peek:?}");
    assert!(peek.choices > 0 && peek.input_bound >= peek.input_estimate, "{id}: {peek:?}");
    let same = dialect.rewrite(&target, &body, &peek, &Edits::default());
    assert_eq!((same.path, same.body.concat()), (None, body.to_vec()), "{id}");
    let edits = Edits {
        model: Some("other-model"),
        cap: Some(4321),
        ask_usage: peek.framing == Framing::Sse,
        service_tier: None,
    };
    let other = dialect.rewrite(&target, &body, &peek, &edits);
    let other_path = other.path.unwrap_or_else(|| path.to_owned());
    let target = Target { method: &Method::POST, path: &other_path, query };
    let edited = other.body.concat();
    let again = dialect.peek(&target, &edited).unwrap_or_else(|fault| panic!("{id}: after edits: {fault}"));
    if !path.ends_with(":batchEmbedContents") {
        assert_eq!(again.model.as_deref(), Some("other-model"), "{id}");
    }
    if dialect.bills() && !dialect.name().contains("embed") {
        assert!(again.cap.is_some_and(|cap| cap <= 4321), "{id}: {again:?}");
    }
    peek.framing
}

fn tapped<'p>(
    dialect: &'static dyn Dialect,
    framing: Framing,
    coding: Coding,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> Answer {
    let mut tap = Tap::new(dialect, framing);
    let mut decoder = Decoder::new(coding);
    for piece in pieces {
        decoder.push(piece, &mut |decoded| tap.read(decoded)).expect("a well coded answer");
    }
    tap.finish()
}

fn recorded_pieces<'b>(record: &Value, body: &'b [u8]) -> Vec<&'b [u8]> {
    let sizes = record.pointer("/response/chunk_sizes").and_then(Value::as_array);
    let mut rest = body;
    let mut pieces = Vec::new();
    for size in sizes.into_iter().flatten().filter_map(Value::as_u64) {
        let (piece, after) = rest.split_at(usize::try_from(size).expect("a size").min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Negative numbers are refused as absurd and leave everything unknown, as the recordings' own reading does.
fn check_answer(record: &Value, dialect: &'static dyn Dialect, framing: Framing) {
    let id = text(record, "/id");
    let body = base64::engine::general_purpose::STANDARD.decode(text(record, "/response/body_b64")).expect("base64");
    let coding = Coding::parse(text(record, "/response/content_encoding")).expect("a known coding");
    let whole = tapped(dialect, framing, coding, std::iter::once(body.as_slice()));
    let expected = |name: &str| record.pointer(&format!("/expected_norm/{name}")).and_then(Value::as_u64);
    let usage = &whole.usage;
    assert_eq!(usage.input, expected("input_total"), "{id}: input");
    assert_eq!(usage.cached_input, expected("cache_read"), "{id}: cached");
    assert_eq!(usage.cache_write, expected("cache_write"), "{id}: cache write");
    assert_eq!(usage.output, expected("output_total"), "{id}: output");
    assert_eq!(usage.reasoning, expected("reasoning"), "{id}: reasoning");
    let negative =
        record.pointer("/signals/anomalies").is_some_and(|list| list.to_string().contains("negative_tokens"));
    assert_eq!(whole.absurd, negative, "{id}: absurd");
    assert!(!whole.blind, "{id}: blind");
    let found = text(record, "/expected_status") == "found";
    assert_eq!(usage.is_known(), found && !negative, "{id}: known");
    let model = record.pointer("/expected/model").and_then(Value::as_str);
    assert_eq!(whole.model.as_deref(), model, "{id}: model");
    let error = record.pointer("/signals/error").is_some_and(|error| !error.is_null());
    assert!(whole.error || !error, "{id}: error");
    if text(record, "/response/framing") == "json"
        || record.pointer("/signals/terminal_event_seen") == Some(&Value::Bool(true))
    {
        assert!(whole.complete || !found, "{id}: complete");
    }
    for size in [1, 7, 64] {
        assert_eq!(tapped(dialect, framing, coding, body.chunks(size)), whole, "{id}: pieces of {size}");
    }
    assert_eq!(
        tapped(dialect, framing, coding, recorded_pieces(record, &body).into_iter()),
        whole,
        "{id}: recorded pieces"
    );
}

fn check_file(file: &str, family: Family, default_path: &str) {
    let mut counts = [0; 3];
    for record in records(file) {
        let path = match text(&record, "/request/path") {
            "" => default_path,
            path => path,
        };
        let dialect = dialect_of(&record, family, path);
        let framing = check_request(&record, dialect, path);
        counts[0] += 1;
        if dialect.bills() {
            check_answer(&record, dialect, framing);
            counts[if text(&record, "/expected_status") == "found" { 1 } else { 2 }] += 1;
        }
    }
    println!("{file}: {} records, usage found in {}, unknown in {}", counts[0], counts[1], counts[2]);
}

#[test]
fn recorded_openai_chat_is_read() {
    check_file("openai-chat", Family::OpenAi, "");
}

#[test]
fn recorded_openai_completions_are_read() {
    check_file("openai-completions", Family::OpenAi, "");
}

#[test]
fn recorded_openai_responses_are_read() {
    check_file("openai-responses", Family::OpenAi, "");
}

#[test]
fn recorded_openai_embeddings_are_read() {
    check_file("openai-embeddings", Family::OpenAi, "");
}

#[test]
fn recorded_anthropic_messages_are_read() {
    check_file("anthropic-messages", Family::Anthropic, "");
}

#[test]
fn recorded_anthropic_token_counts_are_read() {
    check_file("anthropic-count-tokens", Family::Anthropic, "");
}

#[test]
fn recorded_gemini_answers_are_read() {
    check_file("gemini-generate", Family::Gemini, "/v1beta/models/unrecorded:generateContent");
}

#[test]
fn recorded_gemini_streams_are_read() {
    check_file("gemini-stream", Family::Gemini, "/v1beta/models/unrecorded:streamGenerateContent");
}

#[test]
fn recorded_gemini_embeddings_are_read() {
    for file in ["gemini-embed", "gemini-count-tokens"] {
        check_file(file, Family::Gemini, "");
    }
}

/// Providers that speak OpenAI's dialects with their own habits: usage beside the choices, in `x_groq`, in every chunk,
/// reasoning outside the completion, no `[DONE]`.
#[test]
fn recorded_compatible_answers_are_read() {
    for (file, path) in [
        ("azure-openai-chat", "/v1/chat/completions"),
        ("cerebras-chat", "/v1/chat/completions"),
        ("compat-chat", "/v1/chat/completions"),
        ("deepseek-chat", "/v1/chat/completions"),
        ("groq-chat", "/v1/chat/completions"),
        ("huggingface-chat", "/v1/chat/completions"),
        ("mistral-chat", "/v1/chat/completions"),
        ("openrouter-chat", "/v1/chat/completions"),
        ("perplexity-chat", "/v1/chat/completions"),
        ("together-chat", "/v1/chat/completions"),
        ("xai-chat", "/v1/chat/completions"),
        ("azure-openai-completions", "/v1/completions"),
        ("compat-completions", "/v1/completions"),
        ("together-completions", "/v1/completions"),
        ("azure-openai-embeddings", "/v1/embeddings"),
        ("compat-embeddings", "/v1/embeddings"),
        ("mistral-embeddings", "/v1/embeddings"),
        ("openrouter-embeddings", "/v1/embeddings"),
        ("azure-openai-responses", "/v1/responses"),
        ("compat-responses", "/v1/responses"),
        ("deepseek-responses", "/v1/responses"),
        ("openrouter-responses", "/v1/responses"),
        ("xai-responses", "/v1/responses"),
        ("vertex-gemini-generate", "/v1beta/models/any:generateContent"),
        ("vertex-gemini-stream", "/v1beta/models/any:streamGenerateContent"),
    ] {
        let family = if file.contains("gemini") { Family::Gemini } else { Family::OpenAi };
        let mut count = 0;
        for record in records(file) {
            let dialect = dialect_of(&record, family, path);
            check_answer(&record, dialect, Framing::default());
            count += 1;
        }
        println!("{file}: {count} answers");
    }
}

fn filtered<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut filter = UsageChunkFilter::new();
    let mut out: Vec<u8> = pieces.flat_map(|piece| filter.push(Bytes::copy_from_slice(piece)).concat()).collect();
    out.extend(filter.finish().unwrap_or_default());
    out
}

#[test]
fn recorded_streams_lose_their_usage_chunk_and_nothing_else() {
    let mut counts = [0; 2];
    for file in ["openai-chat", "openai-completions", "azure-openai-chat", "groq-chat", "xai-chat", "compat-chat"] {
        for record in records(file).iter().filter(|record| text(record, "/response/framing") == "sse") {
            if !text(record, "/response/content_encoding").is_empty() {
                continue;
            }
            let body =
                base64::engine::general_purpose::STANDARD.decode(text(record, "/response/body_b64")).expect("base64");
            let events = String::from_utf8(body.clone()).expect("UTF-8");
            let is_injected = |event: &&str| {
                let chunk = event.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
                chunk.is_some_and(|chunk| chunk["choices"] == Value::Array(Vec::new()) && chunk["usage"].is_object())
            };
            let gap = if events.contains("\r\n\r\n") { "\r\n\r\n" } else { "\n\n" };
            let kept: Vec<&str> = events.split(gap).filter(|event| !is_injected(event)).collect();
            let whole = filtered(std::iter::once(body.as_slice()));
            assert_eq!(String::from_utf8_lossy(&whole), kept.join(gap), "{}", text(record, "/id"));
            for size in [1, 7, 64] {
                assert_eq!(filtered(body.chunks(size)), whole, "{}", text(record, "/id"));
            }
            counts[usize::from(whole.len() < body.len())] += 1;
        }
    }
    println!("streams: {} unchanged, {} without their usage chunk", counts[0], counts[1]);
}
