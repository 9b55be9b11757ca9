//! OpenAI Responses: whole answers and the typed event stream, which ends without `[DONE]`.

use serde_json::Value;

use super::answer::{Answer, quoted};
use super::ask::{Ask, number};
use super::openai::stem;
use super::reply::{Refusal, Talk};

/// Reads a request; `include_usage` does not exist here and is refused as the provider refuses it.
pub(super) fn ask(body: &Value) -> Result<Ask, Refusal> {
    let mut ask = Ask::read(body, &["input", "instructions"]);
    if body.get("stream_options").and_then(|options| options.get("include_usage")).is_some() {
        let message = "Unknown parameter: 'stream_options.include_usage'.";
        return Err(Refusal::field("stream_options.include_usage", "unknown_parameter", message));
    }
    ask.cap = number(body, &["max_output_tokens"]);
    if ask.cap.is_some_and(|cap| cap < 16) {
        let message = "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16.";
        return Err(Refusal::field("max_output_tokens", "integer_below_min_value", message));
    }
    Ok(ask)
}

/// The token count of a request that is not sent.
pub(super) fn input_tokens(ask: &Ask) -> String {
    format!(r#"{{"object":"response.input_tokens","input_tokens":{}}}"#, ask.input)
}

fn usage(answer: &Answer) -> String {
    format!(
        r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{}}},"output_tokens":{},"output_tokens_details":{{"reasoning_tokens":{}}},"total_tokens":{}}}"#,
        answer.input,
        answer.cached,
        answer.output,
        answer.reasoning,
        answer.total()
    )
}

fn status(answer: &Answer) -> &'static str {
    if answer.cut { "incomplete" } else { "completed" }
}

/// The response object in one of its states.
fn response(ask: &Ask, answer: &Answer, status: &str, output: &str, usage: &str) -> String {
    let incomplete = if status == "incomplete" { r#"{"reason":"max_output_tokens"}"# } else { "null" };
    let cap = ask.cap.map_or_else(|| "null".to_owned(), |cap| cap.to_string());
    format!(
        r#"{{"id":"resp_{}","object":"response","created_at":{},"status":"{status}","background":false,"error":null,"incomplete_details":{incomplete},"instructions":null,"max_output_tokens":{cap},"max_tool_calls":null,"model":{},"output":{output},"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{{"effort":null,"summary":null}},"safety_identifier":null,"service_tier":"default","store":true,"temperature":1.0,"text":{{"format":{{"type":"text"}},"verbosity":"medium"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#,
        answer.id,
        answer.created,
        quoted(&answer.model)
    )
}

fn thought(answer: &Answer) -> Option<String> {
    (answer.reasoning > 0).then(|| format!(r#"{{"id":"rs_{}","type":"reasoning","summary":[]}}"#, answer.id))
}

fn part(text: &str) -> String {
    format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":"{text}"}}"#)
}

fn message(answer: &Answer, status: &str, content: &str) -> String {
    format!(
        r#"{{"id":"msg_{}","type":"message","status":"{status}","content":[{content}],"role":"assistant"}}"#,
        answer.id
    )
}

fn output(answer: &Answer) -> String {
    let mut items: Vec<String> = thought(answer).into_iter().collect();
    if answer.visible > 0 || items.is_empty() {
        items.push(message(answer, status(answer), &part(&answer.text(0))));
    }
    format!("[{}]", items.join(","))
}

/// A whole response.
pub(super) fn whole(ask: &Ask, answer: &Answer) -> String {
    response(ask, answer, status(answer), &output(answer), &usage(answer))
}

/// Numbers and frames the events.
struct Events<'a> {
    talk: &'a mut Talk,
    number: u64,
}

impl Events<'_> {
    fn text(&mut self, kind: &str, fields: &str) -> String {
        let number = self.number;
        self.number += 1;
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{fields}}}\n\n")
    }

    fn send(&mut self, kind: &str, fields: &str) {
        let text = self.text(kind, fields);
        self.talk.frame(text);
    }

    fn say(&mut self, kind: &str, fields: &str, tokens: u64) {
        let text = self.text(kind, fields);
        self.talk.say(text, tokens);
    }
}

/// A response as a stream: usage stands in the last event only.
pub(super) fn stream(ask: &Ask, answer: &Answer, talk: &mut Talk, per_event: u64) {
    let mut events = Events { talk, number: 0 };
    let begun = response(ask, answer, "in_progress", "[]", "null");
    events.send("response.created", &format!("\"response\":{begun}"));
    events.send("response.in_progress", &format!("\"response\":{begun}"));
    let mut index = 0;
    if let Some(item) = thought(answer) {
        events.send("response.output_item.added", &format!("\"output_index\":0,\"item\":{item}"));
        events.send("response.output_item.done", &format!("\"output_index\":0,\"item\":{item}"));
        index = 1;
    }
    if answer.visible > 0 || index == 0 {
        stream_message(answer, &mut events, index, per_event);
    }
    let kind = format!("response.{}", status(answer));
    events.send(&kind, &format!("\"response\":{}", whole(ask, answer)));
}

fn stream_message(answer: &Answer, events: &mut Events<'_>, index: u64, per_event: u64) {
    let item = message(answer, "in_progress", "");
    events.send("response.output_item.added", &format!("\"output_index\":{index},\"item\":{item}"));
    let place = format!(r#""item_id":"msg_{}","output_index":{index},"content_index":0"#, stem(answer, 32));
    events.send("response.content_part.added", &format!("{place},\"part\":{}", part("")));
    for (text, tokens) in answer.pieces(0, per_event) {
        events.say("response.output_text.delta", &format!("{place},\"delta\":\"{text}\",\"logprobs\":[]"), tokens);
    }
    let text = answer.text(0);
    events.send("response.output_text.done", &format!("{place},\"text\":\"{text}\",\"logprobs\":[]"));
    events.send("response.content_part.done", &format!("{place},\"part\":{}", part(&text)));
    let item = message(answer, status(answer), &part(&text));
    events.send("response.output_item.done", &format!("\"output_index\":{index},\"item\":{item}"));
}
