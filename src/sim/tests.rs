//! The scripted provider over a real socket, one dialect after the other.

mod ends;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::{Provider, Script};

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn post(provider: &Provider, path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post(format!("{}{path}", provider.base_url()))
        .header("content-type", "application/json")
        .body(Full::new(body.to_string().into()))
        .expect("a request")
}

async fn call(provider: &Provider, path: &str, body: &Value) -> (StatusCode, HeaderMap, String) {
    let response = client().request(post(provider, path, body)).await.expect("an answer");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).expect("text"))
}

async fn json_of(provider: &Provider, path: &str, body: &Value) -> Value {
    let (status, _, text) = call(provider, path, body).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("a JSON document")
}

/// The documents of an event stream, with `[DONE]` as a string.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line)))
        .collect()
}

fn chat(extra: &Value) -> Value {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi [[tokens=40]]"}]});
    merge(&mut body, extra);
    body
}

fn merge(body: &mut Value, extra: &Value) {
    for (key, value) in extra.as_object().expect("an object") {
        body[key] = value.clone();
    }
}

async fn provider() -> Provider {
    Provider::start(Script::default()).await.expect("a loopback socket")
}

#[tokio::test]
async fn chat_names_the_dated_model_and_bills_what_it_said() {
    let provider = provider().await;
    let answer = json_of(&provider, "/v1/chat/completions", &chat(&json!({}))).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "gpt-4o-2024-08-06");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let text = answer["choices"][0]["message"]["content"].as_str().expect("text");
    assert_eq!(text.split(' ').count(), 40);
    let line = provider.bill().pop().expect("a line");
    assert_eq!(answer["usage"]["prompt_tokens"], line.input_tokens);
    assert_eq!(answer["usage"]["completion_tokens"], 40);
    assert_eq!((line.asked.as_str(), line.model.as_str()), ("gpt-4o", "gpt-4o-2024-08-06"));
    assert_eq!((line.output_tokens, line.billed, line.finished), (40, true, true));
}

#[tokio::test]
async fn a_cap_ends_every_dialect_in_its_own_word() {
    let provider = provider().await;
    let answer = json_of(&provider, "/v1/chat/completions", &chat(&json!({"max_tokens": 30}))).await;
    assert_eq!(
        (&answer["choices"][0]["finish_reason"], &answer["usage"]["completion_tokens"]),
        (&json!("length"), &json!(30))
    );
    let body = json!({"model": "gpt-4o", "input": "Hi [[tokens=40]]", "max_output_tokens": 30});
    let answer = json_of(&provider, "/v1/responses", &body).await;
    assert_eq!((&answer["status"], &answer["usage"]["output_tokens"]), (&json!("incomplete"), &json!(30)));
    assert_eq!(answer["incomplete_details"]["reason"], "max_output_tokens");
    let body = json!({"model": "claude-haiku-4-5", "max_tokens": 30,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi [[tokens=40]]"}]}]});
    let answer = json_of(&provider, "/v1/messages", &body).await;
    assert_eq!((&answer["stop_reason"], &answer["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(30)));
    for config in [json!({"maxOutputTokens": 30}), json!({"max_output_tokens": 30})] {
        let body = json!({"contents": [{"parts": [{"text": "Hi [[tokens=40]]"}]}], "generationConfig": config});
        let answer = json_of(&provider, "/v1beta/models/gemini-2.5-flash:generateContent", &body).await;
        assert_eq!(answer["candidates"][0]["finishReason"], "MAX_TOKENS");
        assert_eq!(answer["usageMetadata"]["candidatesTokenCount"], 30);
    }
    assert!(provider.bill().iter().all(|line| line.output_tokens == 30));
}

#[tokio::test]
async fn a_chat_stream_has_a_usage_chunk_only_when_it_is_asked_for() {
    let provider = provider().await;
    let (_, headers, text) = call(&provider, "/v1/chat/completions", &chat(&json!({"stream": true}))).await;
    assert_eq!(headers["content-type"], "text/event-stream; charset=utf-8");
    let said = events(&text);
    assert_eq!(said.last().expect("an end"), "[DONE]");
    assert_eq!(said.len(), 1 + 40 + 1 + 1);
    assert!(!text.contains("usage"));
    let asked = chat(&json!({"stream": true, "n": 2, "stream_options": {"include_usage": true}}));
    let (_, _, text) = call(&provider, "/v1/chat/completions", &asked).await;
    let said = events(&text);
    let usage = &said[said.len() - 2];
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 80);
    assert_eq!(said[2]["choices"][0]["index"], 0);
    assert_eq!(said[3]["choices"][0]["index"], 1);
    assert_eq!(provider.bill().iter().map(|line| line.output_tokens).collect::<Vec<_>>(), [40, 80]);
}

#[tokio::test]
async fn refuses_what_the_real_provider_refuses() {
    let provider = provider().await;
    let wrong = [
        ("/v1/chat/completions", chat(&json!({"model": "gpt-5", "max_tokens": 30}))),
        ("/v1/chat/completions", chat(&json!({"max_tokens": 30, "max_completion_tokens": 30}))),
        ("/v1/chat/completions", chat(&json!({"stream_options": {"include_usage": true}}))),
        (
            "/v1/responses",
            json!({"model": "gpt-4o", "input": "Hi", "stream": true, "stream_options": {"include_usage": true}}),
        ),
        ("/v1/responses", json!({"model": "gpt-4o", "input": "Hi", "max_output_tokens": 8})),
        ("/v1/messages", json!({"model": "claude-haiku-4-5", "messages": []})),
        (
            "/v1/messages",
            json!({"model": "claude-haiku-4-5", "messages": [], "max_tokens": 2000,
                "thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ),
        ("/v1beta/models/gemini-2.5-flash:generateContent", json!({"contents": []})),
    ];
    for (path, body) in &wrong {
        let (status, _, text) = call(&provider, path, body).await;
        assert_eq!(status, 400, "{path} {body}: {text}");
        assert!(serde_json::from_str::<Value>(&text).expect("JSON").get("error").is_some());
    }
    assert_eq!(call(&provider, "/v1/files", &json!({})).await.0, 404);
    assert_eq!(provider.bill().len(), wrong.len() + 1);
    assert!(provider.bill().iter().all(|line| !line.billed));
}

#[tokio::test]
async fn responses_stream_typed_events_and_end_without_done() {
    let provider = provider().await;
    let body = json!({"model": "gpt-5", "input": "Hi [[tokens=40]] [[reasoning=10]] [[cached=2]]", "stream": true});
    let (_, _, text) = call(&provider, "/v1/responses", &body).await;
    let said = events(&text);
    let kinds: Vec<&str> = said.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"response.created"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "response.output_text.delta").count(), 30);
    let last = said.last().expect("an end");
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["sequence_number"], said.len() - 1);
    assert_eq!(last["response"]["usage"]["output_tokens"], 40);
    assert_eq!(last["response"]["usage"]["output_tokens_details"]["reasoning_tokens"], 10);
    assert_eq!(last["response"]["usage"]["input_tokens_details"]["cached_tokens"], 2);
    assert!(!text.contains("[DONE]"));
    let line = provider.bill().pop().expect("a line");
    assert_eq!((line.output_tokens, line.reasoning_tokens, line.cached_input_tokens), (40, 10, 2));
}

#[tokio::test]
async fn anthropic_keeps_cached_input_outside_and_repeats_usage_at_the_end() {
    let provider = provider().await;
    let body = json!({"model": "claude-haiku-4-5", "max_tokens": 100, "stream": true, "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hi [[tokens=40]] [[cached=5]]"}]});
    let (_, headers, text) = call(&provider, "/v1/messages", &body).await;
    assert!(headers.contains_key("request-id"));
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let said = events(&text);
    let line = provider.bill().pop().expect("a line");
    let usage = &said[said.len() - 2]["usage"];
    assert_eq!(usage["output_tokens"], 40);
    assert_eq!(usage["cache_read_input_tokens"], 5);
    assert_eq!(usage["input_tokens"], line.input_tokens - 5);
    let counted = json_of(&provider, "/v1/messages/count_tokens", &body).await;
    assert_eq!(counted["input_tokens"], line.input_tokens);
    assert!(!provider.bill().pop().expect("a line").billed);
}

#[tokio::test]
async fn gemini_frames_events_with_crlf_and_arrays_as_one_document() {
    let provider = provider().await;
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hi [[tokens=40]] [[reasoning=10]]"}]}]});
    let path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent";
    let (_, _, text) = call(&provider, &format!("{path}?alt=sse&key=k"), &body).await;
    assert_eq!(text.matches("\r\n\r\n").count(), 31);
    let last = events(&text).pop().expect("an end");
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    let (_, headers, text) = call(&provider, path, &body).await;
    assert_eq!(headers["content-type"], "application/json; charset=UTF-8");
    let array: Vec<Value> = serde_json::from_str(&text).expect("an array");
    let usage = &array.last().expect("an end")["usageMetadata"];
    assert_eq!(usage, &last["usageMetadata"]);
    assert_eq!((&usage["candidatesTokenCount"], &usage["thoughtsTokenCount"]), (&json!(30), &json!(10)));
    assert_eq!(provider.bill().iter().map(|line| line.output_tokens).collect::<Vec<_>>(), [40, 40]);
}

#[tokio::test]
async fn embeddings_and_counts_come_in_the_shape_that_is_asked_for() {
    let provider = provider().await;
    let body = json!({"model": "text-embedding-3-small", "input": ["some text", "more"], "dimensions": 8});
    let answer = json_of(&provider, "/v1/embeddings", &body).await;
    assert_eq!(answer["data"][1]["embedding"].as_array().map(Vec::len), Some(8));
    assert_eq!(answer["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
    let body =
        json!({"model": "text-embedding-3-small", "input": [1, 2, 3], "encoding_format": "base64", "dimensions": 3});
    let answer = json_of(&provider, "/v1/embeddings", &body).await;
    assert_eq!(answer["data"][0]["embedding"].as_str().map(str::len), Some(16));
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    let body = json!({"content": {"parts": [{"text": "some text"}]}, "outputDimensionality": 4});
    let answer = json_of(&provider, "/v1beta/models/gemini-embedding-001:embedContent", &body).await;
    assert_eq!(answer["embedding"]["values"].as_array().map(Vec::len), Some(4));
    let body = json!({"contents": [{"parts": [{"text": "some text"}]}]});
    for version in ["v1beta", "v1"] {
        let answer = json_of(&provider, &format!("/{version}/models/gemini-2.5-pro:countTokens"), &body).await;
        assert_eq!(answer["totalTokens"], 7);
    }
    let body = json!({"model": "gpt-4o", "input": "some text"});
    let answer = json_of(&provider, "/v1/responses/input_tokens", &body).await;
    assert_eq!(answer, json!({"object": "response.input_tokens", "input_tokens": 7}));
    assert_eq!(provider.totals().output_tokens, 0);
}

#[tokio::test]
async fn legacy_completions_say_sixteen_tokens_unless_told_otherwise() {
    let provider = provider().await;
    let body = json!({"model": "gpt-3.5-turbo-instruct", "prompt": "Once [[tokens=40]]", "stream": true,
        "stream_options": {"include_usage": true}});
    let (_, _, text) = call(&provider, "/v1/completions", &body).await;
    let said = events(&text);
    assert_eq!(said[said.len() - 3]["choices"][0]["finish_reason"], "length");
    assert_eq!(said[said.len() - 2]["usage"]["completion_tokens"], 16);
    let whole = json_of(&provider, "/v1/completions", &json!({"model": "m", "prompt": "Once", "max_tokens": 99})).await;
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn the_same_script_and_requests_give_the_same_bytes() {
    let script = || Script { seed: 7, answer_tokens: 20..=200, ..Script::default() };
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]});
    let mut runs = Vec::new();
    for _ in 0..2 {
        let provider = Provider::start(script()).await.expect("a loopback socket");
        let first = call(&provider, "/v1/chat/completions", &body).await.2;
        let second = call(&provider, "/v1/chat/completions", &body).await.2;
        assert_ne!(first, second);
        runs.push((first, second));
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn the_fast_script_sends_two_kilobytes_or_sixty_four_events() {
    let provider = Provider::start(Script::fast()).await.expect("a loopback socket");
    let (_, _, whole) = call(&provider, "/v1/chat/completions", &chat(&json!({}))).await;
    assert!((1_800..2_400).contains(&whole.len()), "{} bytes", whole.len());
    let (_, _, plain) = call(&provider, "/v1/chat/completions", &chat(&json!({"stream": true}))).await;
    assert_eq!(events(&plain).len(), 64 + 1);
    assert!(!plain.contains("usage"));
    let asked = chat(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let (_, _, text) = call(&provider, "/v1/chat/completions", &asked).await;
    assert_eq!(events(&text).len(), 64 + 2);
    let totals = provider.totals();
    assert_eq!((totals.requests, totals.input_tokens, totals.output_tokens), (3, 300, 300 + 62 + 62));
    assert!(provider.requests().is_empty());
}
