//! Recorded provider traffic, replayed through the gateway over a socket: the client gets the provider's bytes unchanged,
//! and the ledger's row equals the expected usage.

use std::path::PathBuf;

use base64::Engine;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use plimsoll::sim::Canned;
use serde_json::Value;

use crate::harness::{KEY, Rig, Setup};

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("PLIMSOLL_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no corpus at {}", folder.display());
    None
}

/// The path below the provider; recordings without one get the obvious one.
fn target(record: &Value) -> String {
    let request = &record["request"];
    let stream = record["stream"].as_bool().unwrap_or(false);
    let path = request["path"].as_str().map_or_else(
        || {
            let model = record["expected"]["model"].as_str().unwrap_or("gemini-2.0-flash");
            let verb = if stream { "streamGenerateContent" } else { "generateContent" };
            format!("/v1beta/models/{model}:{verb}")
        },
        str::to_owned,
    );
    match request["query"].as_str() {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path,
    }
}

async fn replay(rig: &Rig, provider: &str, record: &Value) -> Result<(), String> {
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    let answer = Bytes::from(decode(record["response"]["body_b64"].as_str().unwrap_or_default()));
    let mut chunks = Vec::new();
    let mut rest = answer.clone();
    for size in record["response"]["chunk_sizes"].as_array().into_iter().flatten() {
        let size = usize::try_from(size.as_u64().unwrap_or(0)).unwrap_or(0).min(rest.len());
        chunks.push(rest.split_to(size));
    }
    chunks.push(rest);
    let headers = record["response"]["headers"].as_object().into_iter().flatten();
    let headers = headers
        .filter(|(name, _)| !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection"))
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let status = u16::try_from(record["response"]["status"].as_u64().unwrap_or(200)).unwrap_or(200);
    rig.provider.enqueue(Canned { headers, chunks, ..Canned::new(status, "", Bytes::new()) });

    let body = record["request"]["body"].as_str().unwrap_or("{}");
    let mut request = Request::builder()
        .method(record["request"]["method"].as_str().unwrap_or("POST"))
        .uri(format!("/{provider}{}", target(record)))
        .header("authorization", format!("Bearer {KEY}"))
        .header("plimsoll-tenant-id", "globex")
        .header("content-type", "application/json");
    if record["response"]["content_encoding"].is_string() {
        request = request.header("accept-encoding", "gzip, deflate, br, zstd");
    }
    let reply = rig.send(request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request")).await;
    if reply.status.as_u16() != status {
        return Err(format!("status {} instead of {status}: {}", reply.status, reply.text()));
    }
    if reply.body != answer {
        return Err(format!("{} bytes instead of {}", reply.body.len(), answer.len()));
    }
    let rows = rig.rows(reply.header("plimsoll-request-id")).await;
    let [row] = rows.as_slice() else { return Err(format!("{} rows", rows.len())) };
    compare(row, record)
}

/// The row against `expected_norm`, field by field.
fn compare(row: &Value, record: &Value) -> Result<(), String> {
    let expected = &record["expected_norm"];
    // One recording states absurd numbers; its expectation is empty, and ours is an estimate that says so.
    let stated = expected.as_object().is_some_and(|norm| norm.values().any(|tokens| !tokens.is_null()));
    let found = record["expected_status"] == "found" && stated;
    let pairs = [
        ("input_tokens", "input_total"),
        ("cached_input_tokens", "cache_read"),
        ("cache_write_tokens", "cache_write"),
        ("output_tokens", "output_total"),
        ("reasoning_tokens", "reasoning"),
    ];
    if !found {
        let status = record["response"]["status"].as_u64().unwrap_or(200);
        let basis = row["basis"].as_str().unwrap_or_default();
        return if status >= 400 || basis == "estimated" {
            Ok(())
        } else {
            Err(format!("absent usage has basis {basis}"))
        };
    }
    for (ours, theirs) in pairs {
        if row[ours] != expected[theirs] {
            return Err(format!("{ours} is {} instead of {}", row[ours], expected[theirs]));
        }
    }
    Ok(())
}

async fn replay_file(provider: &str, name: &str) {
    let Some(folder) = corpus() else { return };
    let rig = Rig::start(Setup::default()).await;
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).expect("a corpus file");
    let (mut passed, mut faults) = (0, Vec::new());
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).expect("a record");
        match replay(&rig, provider, &record).await {
            Ok(()) => passed += 1,
            Err(fault) => faults.push(format!("{}: {fault}", record["id"])),
        }
    }
    println!("{name}: {passed} passed, {} failed", faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    rig.stop().await;
}

macro_rules! files {
    ($($test:ident: $provider:literal, $file:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            replay_file($provider, $file).await;
        })*
    };
}

files! {
    openai_chat: "openai", "openai-chat";
    openai_completions: "openai", "openai-completions";
    openai_responses: "openai", "openai-responses";
    openai_embeddings: "openai", "openai-embeddings";
    anthropic_messages: "anthropic", "anthropic-messages";
    gemini_generate: "gemini", "gemini-generate";
    gemini_stream: "gemini", "gemini-stream";
    gemini_embed: "gemini", "gemini-embed";
}
