//! One generated answer from the request's bytes to the response: find the endpoint, read, compose, word, pace, bill.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use super::answer::Answer;
use super::ask::Ask;
use super::bill::BillLine;
use super::body::{Paced, Piece, cut};
use super::canned::End;
use super::provider::{Desk, nonce, put};
use super::reply::{Refusal, Reply, Talk, pace};
use super::route::{Endpoint, Family, route};
use super::script::{Fault, Script};
use super::{anthropic, gemini, openai, responses};

const EVENTS: &str = "text/event-stream; charset=utf-8";
const GEMINI_EVENTS: &str = "text/event-stream";
const GEMINI_JSON: &str = "application/json; charset=UTF-8";

/// Answers one request.
pub(super) async fn speak(
    desk: &Desk,
    parts: &Parts,
    body: &[u8],
    fault: Option<Fault>,
    reset: Arc<AtomicBool>,
) -> Response<Paced> {
    let (family, endpoint) = route(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or(""));
    let seed = desk.seed(body);
    let array = matches!(endpoint, Some(Endpoint::GenerateStream { sse: false, .. }));
    let found = allow(&desk.script, parts).and_then(|()| read(endpoint, body));
    let (endpoint, ask) = match found {
        Ok(found) => found,
        Err(refusal) => return refuse(desk, family, parts, &Ask::default(), (&refusal, seed, array)),
    };
    let fault = marked(&ask).or(fault).or(desk.script.fault);
    let answer = Answer::compose(&desk.script, &ask, seed);
    let head_delay = ask.marks.of("delay").map_or(desk.script.first_token_delay, Duration::from_millis);
    if let Some(Fault::Status { status, retry_after }) = fault {
        tokio::time::sleep(head_delay).await;
        let refusal = Refusal::scripted(status, retry_after);
        return refuse(desk, family, parts, &ask, (&refusal, seed, array));
    }
    let (kind, pieces, exact, billed) = match word(&desk.script, &endpoint, &ask, &answer, seed) {
        Reply::Whole(text) => (json_type(family), vec![whole_piece(text, answer.output)], true, true),
        Reply::Free(text) => (json_type(family), vec![whole_piece(text, 0)], true, false),
        Reply::Stream(kind, pieces) => (kind, pieces, false, true),
    };
    let line = BillLine { billed, nonce: nonce(&parts.headers), ..answer.line(parts.uri.path(), &ask) };
    let line = if billed { line } else { BillLine { output_tokens: 0, reasoning_tokens: 0, ..line } };
    let tab = desk.book.open(line, desk.script.bills_after_cancel);
    let thinking = if exact && billed {
        pace(desk.script.token_delay, answer.visible.saturating_add(answer.reasoning / answer.choices.max(1)))
    } else {
        Duration::ZERO
    };
    tokio::time::sleep(head_delay.saturating_add(thinking)).await;
    let mut response = Response::new(broken(pieces, exact, fault, reset).with_tab(tab));
    put(response.headers_mut(), "content-type", kind);
    native_headers(response.headers_mut(), family, &answer.id);
    response
}

fn json_type(family: Family) -> &'static str {
    if family == Family::Gemini { GEMINI_JSON } else { "application/json" }
}

fn whole_piece(text: String, tokens: u64) -> Piece {
    Piece { bytes: Bytes::from(text), tokens, ..Piece::default() }
}

/// The credential in any of the places where the three SDKs put it.
fn allow(script: &Script, parts: &Parts) -> Result<(), Refusal> {
    let Some(key) = &script.key else { return Ok(()) };
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let query = parts.uri.query().unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("key="));
    let shown = [bearer, header("x-api-key"), header("x-goog-api-key"), query];
    if shown.contains(&Some(key.as_str())) {
        return Ok(());
    }
    Err(Refusal::scripted(401, None))
}

fn read(endpoint: Option<Endpoint>, body: &[u8]) -> Result<(Endpoint, Ask), Refusal> {
    let Some(endpoint) = endpoint else {
        return Err(Refusal { code: Some("unknown_url"), ..Refusal::new(404, "Unknown request URL.") });
    };
    if endpoint == Endpoint::Models {
        return Ok((endpoint, Ask::default()));
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return Err(Refusal::new(400, "We could not parse the JSON body of your request."));
    };
    let ask = match &endpoint {
        Endpoint::Chat => openai::chat_ask(&body)?,
        Endpoint::Completions => openai::completions_ask(&body)?,
        Endpoint::Embeddings => openai::embeddings_ask(&body)?,
        Endpoint::Responses | Endpoint::InputTokens => responses::ask(&body)?,
        Endpoint::Models => Ask::default(),
        Endpoint::Messages => anthropic::ask(&body)?,
        Endpoint::CountTokens => anthropic::count_ask(&body),
        Endpoint::Generate { model } => gemini::ask(&body, model, false)?,
        Endpoint::GenerateStream { model, .. } => gemini::ask(&body, model, true)?,
        Endpoint::GeminiCount { model } => gemini::count_ask(&body, model),
        Endpoint::GeminiEmbed { model, batch } => gemini::embed_ask(&body, model, *batch),
    };
    Ok((endpoint, ask))
}

/// The fault that the prompt itself asks for.
fn marked(ask: &Ask) -> Option<Fault> {
    let bytes = |name: &str| ask.marks.of(name).and_then(|after| usize::try_from(after).ok());
    if let Some(status) = ask.marks.of("status").and_then(|status| u16::try_from(status).ok()) {
        return Some(Fault::Status { status, retry_after: (status == 429).then_some(1) });
    }
    if let Some(after) = bytes("cut") {
        return Some(Fault::Cut { after, reset: false });
    }
    if let Some(after) = bytes("reset") {
        return Some(Fault::Cut { after, reset: true });
    }
    bytes("stall").map(|after| Fault::Stall { after })
}

/// Puts the answer in the endpoint's words.
fn word(script: &Script, endpoint: &Endpoint, ask: &Ask, answer: &Answer, seed: u64) -> Reply {
    let per_event = script.tokens_per_event;
    let hidden = answer.reasoning;
    let streamed = |kind: &'static str, write: &dyn Fn(&mut Talk)| {
        let mut talk = Talk::new(script.token_delay, seed, hidden);
        write(&mut talk);
        Reply::Stream(kind, talk.end())
    };
    match endpoint {
        Endpoint::Chat if ask.streamed => streamed(EVENTS, &|talk| openai::chat_stream(ask, answer, talk, per_event)),
        Endpoint::Chat => Reply::Whole(openai::chat_whole(answer)),
        Endpoint::Completions if ask.streamed => {
            streamed(EVENTS, &|talk| openai::completions_stream(ask, answer, talk, per_event))
        }
        Endpoint::Completions => Reply::Whole(openai::completions_whole(answer)),
        Endpoint::Embeddings => Reply::Whole(openai::embeddings(ask, answer, seed)),
        Endpoint::Responses if ask.streamed => {
            streamed(EVENTS, &|talk| responses::stream(ask, answer, talk, per_event))
        }
        Endpoint::Responses => Reply::Whole(responses::whole(ask, answer)),
        Endpoint::InputTokens => Reply::Free(responses::input_tokens(ask)),
        Endpoint::Models => Reply::Free(openai::models()),
        Endpoint::Messages if ask.streamed => streamed(EVENTS, &|talk| anthropic::stream(answer, talk, per_event)),
        Endpoint::Messages => Reply::Whole(anthropic::whole(answer)),
        Endpoint::CountTokens => Reply::Free(anthropic::count(ask)),
        Endpoint::Generate { .. } => Reply::Whole(gemini::whole(answer)),
        Endpoint::GenerateStream { sse, .. } => {
            let kind = if *sse { GEMINI_EVENTS } else { GEMINI_JSON };
            streamed(kind, &|talk| gemini::stream(answer, talk, per_event, *sse))
        }
        Endpoint::GeminiCount { .. } => Reply::Free(gemini::count(ask)),
        Endpoint::GeminiEmbed { batch, .. } => Reply::Whole(gemini::embeddings(ask, *batch, seed)),
    }
}

/// The body as far as a fault lets it come.
fn broken(pieces: Vec<Piece>, exact: bool, fault: Option<Fault>, reset: Arc<AtomicBool>) -> Paced {
    let length: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    let exact = if exact { u64::try_from(length).ok() } else { None };
    let (pieces, end) = match fault {
        Some(Fault::Cut { after, reset }) => {
            (cut(pieces, after.min(length.saturating_sub(1))), if reset { End::Reset } else { End::Close })
        }
        Some(Fault::Stall { after }) => (cut(pieces, after.min(length.saturating_sub(1))), End::Stall),
        Some(Fault::Status { .. }) | None => (pieces, End::Clean),
    };
    Paced::new(pieces, end, exact, reset)
}

fn refuse(
    desk: &Desk,
    family: Family,
    parts: &Parts,
    ask: &Ask,
    (refusal, seed, array): (&Refusal, u64, bool),
) -> Response<Paced> {
    let id = format!("{seed:016x}");
    let (body, status) = match family {
        Family::OpenAi => (openai::error(refusal), refusal.status),
        Family::Anthropic => (anthropic::error(refusal, &format!("req_01{id}")), refusal.status),
        // An invalid key is a bad request at Google.
        Family::Gemini if refusal.status == 401 => (gemini::error(refusal, array), 400),
        Family::Gemini => (gemini::error(refusal, array), refusal.status),
    };
    desk.book.enter(BillLine {
        nonce: nonce(&parts.headers),
        path: parts.uri.path().to_owned(),
        asked: ask.model.clone(),
        status,
        streamed: ask.streamed,
        finished: true,
        ..BillLine::default()
    });
    let mut response = Response::new(Paced::whole(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    put(response.headers_mut(), "content-type", json_type(family));
    native_headers(response.headers_mut(), family, &id);
    if let (Some(seconds), false) = (refusal.retry_after, family == Family::Gemini) {
        put(response.headers_mut(), "retry-after", &seconds.to_string());
    }
    response
}

/// The headers that each provider puts on its answers.
fn native_headers(headers: &mut HeaderMap, family: Family, id: &str) {
    let id = id.get(..16).unwrap_or(id);
    match family {
        Family::OpenAi => {
            put(headers, "x-request-id", &format!("req_{id}"));
            put(headers, "openai-version", "2020-10-01");
            put(headers, "openai-processing-ms", "12");
            put(headers, "x-ratelimit-limit-requests", "15000");
            put(headers, "x-ratelimit-remaining-requests", "14999");
            put(headers, "x-ratelimit-reset-requests", "4ms");
        }
        Family::Anthropic => {
            put(headers, "request-id", &format!("req_01{id}"));
            put(headers, "anthropic-ratelimit-requests-limit", "1000");
            put(headers, "anthropic-ratelimit-requests-remaining", "999");
            put(headers, "anthropic-ratelimit-requests-reset", "2026-11-16T00:00:00Z");
        }
        Family::Gemini => put(headers, "x-gemini-service-tier", "standard"),
    }
}
