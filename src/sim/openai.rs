//! OpenAI chat completions, legacy completions, embeddings, models and errors.
//!
//! Source: the OpenAI API reference and recorded traffic. Keys stand in the order in which the provider sends them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::answer::{Answer, Dice, quoted, reasons};
use super::ask::{Ask, choices, flag, number, text};
use super::reply::{Refusal, Talk};

const UNSUPPORTED: &str = "unsupported_parameter";

/// Reads a chat request as strictly as the provider does where a gateway's edits could go wrong.
pub(super) fn chat_ask(body: &Value) -> Result<Ask, Refusal> {
    let mut ask = Ask::read(body, &["messages"]);
    if ask.model.is_empty() {
        return Err(Refusal::new(400, "you must provide a model parameter"));
    }
    if body.get("max_tokens").is_some_and(|cap| !cap.is_null()) {
        if reasons(&ask.model) {
            let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                           'max_completion_tokens' instead.";
            return Err(Refusal::field("max_tokens", UNSUPPORTED, message));
        }
        if body.get("max_completion_tokens").is_some_and(|cap| !cap.is_null()) {
            let message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
            return Err(Refusal::field("max_tokens", "invalid_parameter_combination", message));
        }
    }
    usage_flag(body, &mut ask)?;
    ask.cap = number(body, &["max_completion_tokens"]).or_else(|| number(body, &["max_tokens"]));
    ask.choices = choices(body, &["n"]);
    Ok(ask)
}

/// Reads a legacy completions request: 16 tokens are its default.
pub(super) fn completions_ask(body: &Value) -> Result<Ask, Refusal> {
    let mut ask = Ask::read(body, &["prompt"]);
    if ask.model.is_empty() {
        return Err(Refusal::new(400, "you must provide a model parameter"));
    }
    ask.input = Ask::bare_tokens(body.get("prompt").unwrap_or(&Value::Null));
    usage_flag(body, &mut ask)?;
    ask.cap = Some(number(body, &["max_tokens"]).unwrap_or(16));
    ask.choices = choices(body, &["n"]);
    Ok(ask)
}

/// Reads an embeddings request.
pub(super) fn embeddings_ask(body: &Value) -> Result<Ask, Refusal> {
    let mut ask = Ask::read(body, &["input"]);
    let Some(input) = body.get("input") else {
        return Err(Refusal::field("input", "missing_required_parameter", "'input' is a required property"));
    };
    ask.input = Ask::bare_tokens(input);
    ask.vectors = match input {
        Value::Array(items) if items.first().is_some_and(|item| !item.is_number()) => items.len(),
        _ => 1,
    };
    ask.dimensions = number(body, &["dimensions"]);
    ask.base64 = text(body, "encoding_format") == "base64";
    ask.streamed = false;
    ask.cap = Some(0);
    Ok(ask)
}

fn usage_flag(body: &Value, ask: &mut Ask) -> Result<(), Refusal> {
    let Some(options) = body.get("stream_options").filter(|options| !options.is_null()) else { return Ok(()) };
    if !ask.streamed {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Refusal::field("stream_options", "invalid_value", message));
    }
    ask.usage_wanted = flag(options, "include_usage");
    Ok(())
}

fn usage(answer: &Answer) -> String {
    format!(
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        answer.input,
        answer.output,
        answer.total(),
        answer.cached,
        answer.reasoning
    )
}

fn finish(answer: &Answer) -> &'static str {
    if answer.cut { "length" } else { "stop" }
}

/// A whole chat completion.
pub(super) fn chat_whole(answer: &Answer) -> String {
    let choices: Vec<String> = (0..answer.choices)
        .map(|at| {
            format!(
                r#"{{"index":{at},"message":{{"role":"assistant","content":"{}","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{}"}}"#,
                answer.text(at),
                finish(answer)
            )
        })
        .collect();
    format!(
        r#"{{"id":"chatcmpl-{}","object":"chat.completion","created":{},"model":{},"choices":[{}],"usage":{},"service_tier":"default","system_fingerprint":"fp_{}"}}"#,
        stem(answer, 29),
        answer.created,
        quoted(&answer.model),
        choices.join(","),
        usage(answer),
        stem(answer, 10)
    )
}

/// A chat completion as a stream; choices interleave.
pub(super) fn chat_stream(ask: &Ask, answer: &Answer, talk: &mut Talk, per_event: u64) {
    let head = format!(
        r#"{{"id":"chatcmpl-{}","object":"chat.completion.chunk","created":{},"model":{},"service_tier":"default","system_fingerprint":"fp_{}","choices":["#,
        stem(answer, 29),
        answer.created,
        quoted(&answer.model),
        stem(answer, 10)
    );
    let tail = if ask.usage_wanted { r#"],"usage":null}"# } else { "]}" };
    let choice = |at: u64, delta: &str, finish: &str| {
        format!(
            "data: {head}{{\"index\":{at},\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}{tail}\n\n"
        )
    };
    for at in 0..answer.choices {
        talk.frame(choice(at, r#"{"role":"assistant","content":"","refusal":null}"#, "null"));
    }
    for (at, text, tokens) in interleaved(answer, per_event) {
        talk.say(choice(at, &format!(r#"{{"content":"{text}"}}"#), "null"), tokens);
    }
    for at in 0..answer.choices {
        talk.frame(choice(at, "{}", &format!("\"{}\"", finish(answer))));
    }
    if ask.usage_wanted {
        talk.frame(format!("data: {head}],\"usage\":{}}}\n\n", usage(answer)));
    }
    talk.frame("data: [DONE]\n\n".to_owned());
}

/// A whole legacy completion.
pub(super) fn completions_whole(answer: &Answer) -> String {
    let choices: Vec<String> = (0..answer.choices)
        .map(|at| {
            let (text, finish) = (answer.text(at), finish(answer));
            format!(r#"{{"text":"{text}","index":{at},"logprobs":null,"finish_reason":"{finish}"}}"#)
        })
        .collect();
    format!("{}[{}],\"usage\":{}}}", completions_head(answer), choices.join(","), usage(answer))
}

/// A legacy completion as a stream.
pub(super) fn completions_stream(ask: &Ask, answer: &Answer, talk: &mut Talk, per_event: u64) {
    let head = completions_head(answer);
    let tail = if ask.usage_wanted { r#"],"usage":null}"# } else { "]}" };
    let choice = |at: u64, text: &str, finish: &str| {
        format!(
            "data: {head}[{{\"text\":\"{text}\",\"index\":{at},\"logprobs\":null,\"finish_reason\":{finish}}}{tail}\n\n"
        )
    };
    for (at, text, tokens) in interleaved(answer, per_event) {
        talk.say(choice(at, &text, "null"), tokens);
    }
    for at in 0..answer.choices {
        talk.frame(choice(at, "", &format!("\"{}\"", finish(answer))));
    }
    if ask.usage_wanted {
        talk.frame(format!("data: {head}[],\"usage\":{}}}\n\n", usage(answer)));
    }
    talk.frame("data: [DONE]\n\n".to_owned());
}

fn completions_head(answer: &Answer) -> String {
    format!(
        r#"{{"id":"cmpl-{}","object":"text_completion","created":{},"model":{},"choices":"#,
        stem(answer, 29),
        answer.created,
        quoted(&answer.model)
    )
}

fn interleaved(answer: &Answer, per_event: u64) -> Vec<(u64, String, u64)> {
    let mut said = Vec::new();
    for at in 0..answer.choices {
        let pieces = answer.pieces(at, per_event).into_iter().enumerate();
        said.extend(pieces.map(|(order, (text, tokens))| (order, at, text, tokens)));
    }
    said.sort_by_key(|(order, at, ..)| (*order, *at));
    said.into_iter().map(|(_, at, text, tokens)| (at, text, tokens)).collect()
}

/// Embeddings: vectors of the length that the model has, or that was asked for.
pub(super) fn embeddings(ask: &Ask, answer: &Answer, seed: u64) -> String {
    let length = ask.dimensions.unwrap_or(if ask.model.ends_with("-large") { 3072 } else { 1536 });
    let mut dice = Dice::new(seed);
    let rows: Vec<String> = (0..ask.vectors)
        .map(|at| {
            let vector = vector(&mut dice, length);
            let embedding = if ask.base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                format!("\"{}\"", STANDARD.encode(bytes))
            } else {
                numbers(&vector)
            };
            format!(r#"{{"object":"embedding","index":{at},"embedding":{embedding}}}"#)
        })
        .collect();
    format!(
        r#"{{"object":"list","data":[{}],"model":{},"usage":{{"prompt_tokens":{},"total_tokens":{}}}}}"#,
        rows.join(","),
        quoted(&answer.model),
        answer.input,
        answer.input
    )
}

/// Values between 1/32 and 1/16, made from bits so that no arithmetic on floats is needed. At most 4096 of them.
pub(super) fn vector(dice: &mut Dice, length: u64) -> Vec<f32> {
    (0..length.min(4096))
        .map(|_| {
            let bits = u32::try_from(dice.roll() & 0x007F_FFFF).unwrap_or(0);
            f32::from_bits(0x3D00_0000 | bits)
        })
        .collect()
}

/// Numbers as a JSON array.
pub(super) fn numbers(vector: &[f32]) -> String {
    let values: Vec<String> = vector.iter().map(ToString::to_string).collect();
    format!("[{}]", values.join(","))
}

/// The models that a client may list.
pub(super) fn models() -> String {
    let rows: Vec<String> = ["gpt-4o", "gpt-4o-mini", "gpt-5", "o4-mini", "text-embedding-3-small"]
        .iter()
        .map(|name| format!(r#"{{"id":"{name}","object":"model","created":1715367049,"owned_by":"system"}}"#))
        .collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, rows.join(","))
}

/// An error in OpenAI's shape.
pub(super) fn error(refusal: &Refusal) -> String {
    let (kind, code) = match refusal.status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let named = |name: Option<&str>| name.map_or_else(|| "null".to_owned(), quoted);
    format!(
        r#"{{"error":{{"message":{},"type":"{kind}","param":{},"code":{}}}}}"#,
        quoted(&refusal.message),
        named(refusal.field),
        named(refusal.code.or(code))
    )
}

/// The first digits of the answer's id.
pub(super) fn stem(answer: &Answer, length: usize) -> &str {
    answer.id.get(..length).unwrap_or(&answer.id)
}
