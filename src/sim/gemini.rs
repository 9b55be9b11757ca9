//! Gemini: the model stands in the path, streams are CRLF-framed events or one JSON array, usage comes with every chunk.

use serde_json::Value;

use super::answer::{Answer, Dice, quoted};
use super::ask::{Ask, choices, number};
use super::openai::{numbers, vector};
use super::reply::{Refusal, Talk};

/// Protobuf JSON takes both spellings.
const CONFIG: [&str; 2] = ["generationConfig", "generation_config"];

/// Reads a request for content.
pub(super) fn ask(body: &Value, model: &str, streamed: bool) -> Result<Ask, Refusal> {
    if body.get("contents").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(Refusal::new(400, "* GenerateContentRequest.contents: contents is not specified"));
    }
    if body.get("stream_options").is_some() {
        let message = "Invalid JSON payload received. Unknown name \"stream_options\": Cannot find field.";
        return Err(Refusal::new(400, message));
    }
    let mut ask = Ask::read(body, &["contents", "systemInstruction", "system_instruction"]);
    model.clone_into(&mut ask.model);
    ask.streamed = streamed;
    if let Some(config) = CONFIG.iter().find_map(|key| body.get(key)) {
        ask.cap = number(config, &["maxOutputTokens", "max_output_tokens"]);
        ask.choices = choices(config, &["candidateCount", "candidate_count"]);
    }
    Ok(ask)
}

/// Reads a request whose tokens are only counted, bare or wrapped.
pub(super) fn count_ask(body: &Value, model: &str) -> Ask {
    let inner = body.get("generateContentRequest").unwrap_or(body);
    let mut ask = Ask::read(inner, &["contents", "systemInstruction"]);
    model.clone_into(&mut ask.model);
    ask
}

/// The token count of a request that is not sent.
pub(super) fn count(ask: &Ask) -> String {
    format!(
        r#"{{"totalTokens":{},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{}}}]}}"#,
        ask.input, ask.input
    )
}

/// Reads a request for one vector or a batch of them.
pub(super) fn embed_ask(body: &Value, model: &str, batch: bool) -> Ask {
    let requests = body.get("requests").unwrap_or(&Value::Null);
    let mut ask = Ask::read(body, &["content", "requests"]);
    model.clone_into(&mut ask.model);
    let first = requests.get(0).unwrap_or(body);
    let content = |request: &Value| Ask::bare_tokens(request.get("content").unwrap_or(&Value::Null));
    ask.input = if batch { requests.as_array().map_or(0, |all| all.iter().map(content).sum()) } else { content(body) };
    ask.vectors = if batch { requests.as_array().map_or(0, Vec::len) } else { 1 };
    ask.dimensions = number(first, &["outputDimensionality", "output_dimensionality"]);
    ask.cap = Some(0);
    ask
}

/// Vectors, with the usage that newer models give.
pub(super) fn embeddings(ask: &Ask, batch: bool, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let rows: Vec<String> = (0..ask.vectors)
        .map(|_| format!(r#"{{"values":{}}}"#, numbers(&vector(&mut dice, ask.dimensions.unwrap_or(3072)))))
        .collect();
    let found = if batch {
        format!("\"embeddings\":[{}]", rows.join(","))
    } else {
        format!("\"embedding\":{}", rows.join(","))
    };
    format!(r#"{{{found},"usageMetadata":{{"promptTokenCount":{}}}}}"#, ask.input)
}

/// Usage after so many visible tokens of all candidates; absent fields are zero.
fn usage(answer: &Answer, visible: u64) -> String {
    let optional = |name: &str, tokens: u64| match tokens {
        0 => String::new(),
        _ => format!("\"{name}\":{tokens},"),
    };
    let total = answer.input.saturating_add(visible).saturating_add(answer.reasoning);
    format!(
        r#"{{"promptTokenCount":{},{}{}"totalTokenCount":{total},{}"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{}}}]}}"#,
        answer.input,
        optional("candidatesTokenCount", visible),
        optional("cachedContentTokenCount", answer.cached),
        optional("thoughtsTokenCount", answer.reasoning),
        answer.input
    )
}

fn candidate(at: u64, text: &str, finish: Option<&str>) -> String {
    let parts = if text.is_empty() { String::new() } else { format!(r#""parts":[{{"text":"{text}"}}],"#) };
    let finish = finish.map_or_else(String::new, |reason| format!(r#""finishReason":"{reason}","#));
    format!(r#"{{"content":{{{parts}"role":"model"}},{finish}"index":{at}}}"#)
}

fn document(answer: &Answer, candidates: &str, usage: &str) -> String {
    format!(
        r#"{{"candidates":[{candidates}],"usageMetadata":{usage},"modelVersion":{},"responseId":"{}"}}"#,
        quoted(&answer.model),
        answer.id
    )
}

fn finish(answer: &Answer) -> &'static str {
    if answer.cut { "MAX_TOKENS" } else { "STOP" }
}

fn visible(answer: &Answer) -> u64 {
    answer.visible.saturating_mul(answer.choices)
}

/// A whole answer.
pub(super) fn whole(answer: &Answer) -> String {
    let candidates: Vec<String> =
        (0..answer.choices).map(|at| candidate(at, &answer.text(at), Some(finish(answer)))).collect();
    document(answer, &candidates.join(","), &usage(answer, visible(answer)))
}

/// An answer as a stream of events, or as one array that grows.
pub(super) fn stream(answer: &Answer, talk: &mut Talk, per_event: u64, sse: bool) {
    let mut documents = Vec::new();
    let mut said = 0;
    for at in 0..answer.choices {
        let pieces = answer.pieces(at, per_event);
        for (text, tokens) in pieces {
            said += tokens;
            documents.push((document(answer, &candidate(at, &text, None), &usage(answer, said)), tokens));
        }
    }
    let ends: Vec<String> = (0..answer.choices).map(|at| candidate(at, "", Some(finish(answer)))).collect();
    documents.push((document(answer, &ends.join(","), &usage(answer, visible(answer))), 0));
    let last = documents.len() - 1;
    for (at, (document, tokens)) in documents.into_iter().enumerate() {
        let text = match (sse, at) {
            (true, _) => format!("data: {document}\r\n\r\n"),
            (false, 0) => format!("[{document}"),
            (false, _) => format!("\n,\r\n{document}"),
        };
        let text = if !sse && at == last { text + "\n]\n" } else { text };
        talk.say(text, tokens);
    }
}

/// An error in Google's shape; a throttle says in its details when to come back.
pub(super) fn error(refusal: &Refusal, array: bool) -> String {
    // An invalid key is a bad request here, not 401.
    let code = if refusal.status == 401 { 400 } else { refusal.status };
    let status = match code {
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    let details = refusal.retry_after.map_or_else(String::new, |seconds| {
        format!(r#","details":[{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{seconds}s"}}]"#)
    });
    let message = quoted(&refusal.message);
    let document = format!(r#"{{"error":{{"code":{code},"message":{message},"status":"{status}"{details}}}}}"#);
    if array { format!("[{document}\n]\n") } else { document }
}
