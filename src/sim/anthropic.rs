//! Anthropic messages: cached input stands beside `input_tokens`, and the stream's last usage is cumulative.

use serde_json::Value;

use super::answer::{Answer, quoted};
use super::ask::{Ask, number, text};
use super::openai::stem;
use super::reply::{Refusal, Talk};

/// Reads a request as strictly as the provider where a gateway's edits could go wrong.
pub(super) fn ask(body: &Value) -> Result<Ask, Refusal> {
    let mut ask = count_ask(body);
    if ask.model.is_empty() {
        return Err(Refusal::new(400, "model: Field required"));
    }
    let Some(cap) = number(body, &["max_tokens"]) else {
        return Err(Refusal::new(400, "max_tokens: Field required"));
    };
    if body.get("stream_options").is_some() {
        return Err(Refusal::new(400, "stream_options: Extra inputs are not permitted"));
    }
    if let Some(thinking) = body.get("thinking").filter(|thinking| text(thinking, "type") == "enabled") {
        let budget = number(thinking, &["budget_tokens"]).unwrap_or(0);
        if budget < 1024 {
            let message = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024";
            return Err(Refusal::new(400, message));
        }
        if cap <= budget {
            return Err(Refusal::new(400, "`max_tokens` must be greater than `thinking.budget_tokens`."));
        }
    }
    ask.cap = Some(cap);
    Ok(ask)
}

/// Reads a request whose tokens are only counted.
pub(super) fn count_ask(body: &Value) -> Ask {
    Ask::read(body, &["messages", "system"])
}

/// The token count of a request that is not sent.
pub(super) fn count(ask: &Ask) -> String {
    format!(r#"{{"input_tokens":{}}}"#, ask.input)
}

fn usage(answer: &Answer, output: u64) -> String {
    format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":{},"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"service_tier":"standard"}}"#,
        answer.input - answer.cached,
        answer.cached
    )
}

fn message(answer: &Answer, content: &str, stop: &str, usage: &str) -> String {
    format!(
        r#"{{"model":{},"id":"msg_01{}","type":"message","role":"assistant","content":[{content}],"stop_reason":{stop},"stop_sequence":null,"usage":{usage}}}"#,
        quoted(&answer.model),
        stem(answer, 22)
    )
}

fn stop(answer: &Answer) -> &'static str {
    if answer.cut { "\"max_tokens\"" } else { "\"end_turn\"" }
}

/// A whole message.
pub(super) fn whole(answer: &Answer) -> String {
    let content =
        if answer.visible == 0 { String::new() } else { format!(r#"{{"type":"text","text":"{}"}}"#, answer.text(0)) };
    message(answer, &content, stop(answer), &usage(answer, answer.output))
}

fn event(kind: &str, fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{comma}{fields}}}\n\n")
}

/// A message as a stream.
pub(super) fn stream(answer: &Answer, talk: &mut Talk, per_event: u64) {
    let begun = message(answer, "", "null", &usage(answer, answer.output.min(1)));
    talk.frame(event("message_start", &format!("\"message\":{begun}")));
    if answer.visible > 0 {
        talk.frame(event("content_block_start", r#""index":0,"content_block":{"type":"text","text":""}"#));
        talk.frame(event("ping", ""));
        for (text, tokens) in answer.pieces(0, per_event) {
            let fields = format!(r#""index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#);
            talk.say(event("content_block_delta", &fields), tokens);
        }
        talk.frame(event("content_block_stop", "\"index\":0"));
    }
    let last = format!(
        r#""delta":{{"stop_reason":{},"stop_sequence":null}},"usage":{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":{},"output_tokens":{}}}"#,
        stop(answer),
        answer.input - answer.cached,
        answer.cached,
        answer.output
    );
    talk.frame(event("message_delta", &last));
    talk.frame(event("message_stop", ""));
}

/// An error in Anthropic's shape.
pub(super) fn error(refusal: &Refusal, id: &str) -> String {
    let kind = match refusal.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    format!(
        r#"{{"type":"error","error":{{"type":"{kind}","message":{}}},"request_id":"{id}"}}"#,
        quoted(&refusal.message)
    )
}
