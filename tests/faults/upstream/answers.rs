//! Answers that say odd things about themselves, or say them in odd pieces (rows B6, B7, B10, B12).

use std::fmt::Write as _;

use ::bytes::Bytes;
use plimsoll::sim::{BillLine, Canned, Script};
use serde_json::json;

use super::{CHAT, Dice, MESSAGES, ROOMY, STREAM, call, chat, each_stream, hear, roomy, rounds};
use crate::faults::{Agreed, Told, agree};
use crate::harness::{Rig, Setup};

/// What the provider bills for a canned answer of twenty words.
fn twenty(path: &str) -> BillLine {
    let (path, model) = match path {
        MESSAGES => ("/v1/messages", "claude-sonnet-4-5-20250929"),
        STREAM => ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", "gemini-2.5-flash"),
        _ => ("/v1/chat/completions", "gpt-4o-2024-08-06"),
    };
    BillLine {
        path: path.to_owned(),
        model: model.to_owned(),
        input_tokens: 7,
        output_tokens: 20,
        status: 200,
        streamed: true,
        billed: true,
        ..BillLine::default()
    }
}

/// Twenty words of a chat, an event each; `first` and `last` are further events before and behind them.
fn chat_events(first: &str, last: &str) -> String {
    let mut text = first.to_owned();
    for _ in 0..20 {
        text.push_str(
            "data: {\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"}}]}\n\n",
        );
    }
    text.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    text + last
}

fn usage_event(usage: &str) -> String {
    format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n")
}

const DONE: &str = "data: [DONE]\n\n";
const FINE: &str = r#"{"prompt_tokens":7,"completion_tokens":20,"total_tokens":27}"#;
const EARLY: &str = r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}"#;

/// Plays these answers one after the other and returns the books.
async fn play(rig: &Rig, answers: Vec<(String, &'static str, String)>) -> Vec<Agreed> {
    let mut log = Vec::new();
    for (nonce, path, body) in answers {
        let at =
            ["/openai", "/anthropic", "/gemini"].iter().position(|name| path.starts_with(name)).expect("a provider");
        let canned = Canned { bill: Some(twenty(path)), ..Canned::new(200, "text/event-stream", body) };
        rig.provider.enqueue(canned);
        let (told, reply) = hear(rig, &nonce, path, &each_stream("")[at].1).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        // What is nonsense for the gateway may look fine to the client; only the money is compared.
        log.push(Told { usage: None, ..told });
    }
    agree(rig, &log).await
}

// Mutation: in `Attempt::bill` take an unknown usage for `Bill::free`; or let the first usage object win in the tap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_usage_that_is_absent_null_repeated_early_or_late_is_charged_and_says_its_basis() {
    let (fine, early) = (usage_event(FINE), usage_event(EARLY));
    let cases = [
        ("absent", chat_events("", DONE), "estimated"),
        ("null", chat_events("", &(usage_event("null") + DONE)), "estimated"),
        ("empty", chat_events("", &(usage_event("{}") + DONE)), "estimated"),
        ("twice", chat_events("", &(early.clone() + &fine + DONE)), "exact"),
        ("in the middle", chat_events(&early, &(fine.clone() + DONE)), "exact"),
        ("first", chat_events(&fine, DONE), "exact"),
        ("after the end", chat_events("", &(DONE.to_owned() + &fine)), "exact"),
        ("then null", chat_events("", &(fine + &usage_event("null") + DONE)), "exact"),
        ("without an end", chat_events("", ""), "estimated"),
        ("nothing at all", String::new(), "estimated"),
    ];
    let rig = roomy(Script::default()).await;
    let answers = cases.iter().map(|(name, body, _)| (format!("b6 {name}"), CHAT, body.clone())).collect();
    for (found, (name, _, basis)) in play(&rig, answers).await.iter().zip(&cases) {
        assert_eq!(found.row().basis, *basis, "{name}: {found:#?}");
    }
    rig.stop().await;
}

// Mutation: in `Attempt::nonsense` return `None` for an absurd usage (what is left of it is lost), or leave out the check of
// what the model can write (a billion tokens are then charged), or of silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_usage_that_cannot_be_is_estimated_and_neither_wraps_nor_ruins_a_tenant() {
    let numbers = [
        "-1",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "1e30",
        "1.5",
        "20.0",
        "\"20\"",
        "[20]",
        "true",
        "{}",
        "0",
        "1000000000",
        "1099511627776",
    ];
    let rig = roomy(Script::default()).await;
    let mut answers = Vec::new();
    for (at, number) in numbers.into_iter().enumerate() {
        let long = "word ".repeat(80);
        let output = usage_event(&format!("{{\"prompt_tokens\":7,\"completion_tokens\":{number}}}")) + DONE;
        let talk = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{long}\"}}}}]}}\n\n");
        answers.push((format!("b7 chat output {at}"), CHAT, chat_events(&talk, &output)));
        let input = usage_event(&format!("{{\"prompt_tokens\":{number},\"completion_tokens\":20}}")) + DONE;
        if number != "0" {
            answers.push((format!("b7 chat input {at}"), CHAT, chat_events("", &input)));
        }
        let start = format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"model\":\"claude-sonnet-4-5-20250929\",\
             \"usage\":{{\"input_tokens\":7,\"output_tokens\":1}}}}}}\n\nevent: content_block_delta\ndata: {{\"type\":\
             \"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{long}\"}}}}\n\n"
        );
        let end = format!(
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":\
             {{\"output_tokens\":{number}}}}}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        );
        answers.push((format!("b7 messages {at}"), MESSAGES, start + &end));
        let chunk = format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{long}\"}}]}},\"finishReason\":\"STOP\"}}],\
             \"usageMetadata\":{{\"promptTokenCount\":7,\"candidatesTokenCount\":{number}}},\"modelVersion\":\"gemini-2.5-flash\"}}\r\n\r\n"
        );
        answers.push((format!("b7 gemini {at}"), STREAM, chunk));
    }
    for found in play(&rig, answers).await {
        let row = found.row();
        assert_eq!(row.basis, "estimated", "{found:#?}");
        if !found.told.nonce.contains("input") {
            assert_eq!(row.input, Some(7), "what is no nonsense stands: {found:#?}");
        }
        // Nobody is charged for more than one context and what the request allows.
        assert!(
            row.input <= Some(1_048_576) && row.output.is_some_and(|output| (20..=1_000).contains(&output)),
            "{found:#?}"
        );
    }
    rig.stop().await;
}

// Mutation: in `Attempt::bill` cut a stated output down to the cap that was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_more_output_than_the_cap_that_was_sent_is_believed_and_posted_as_debt() {
    let rig = roomy(Script::default()).await;
    let usage = usage_event(r#"{"prompt_tokens":7,"completion_tokens":5000}"#);
    let body = chat_events("", &(usage + DONE));
    let bill = BillLine { output_tokens: 5_000, ..twenty(CHAT) };
    rig.provider.enqueue(Canned { bill: Some(bill), ..Canned::new(200, "text/event-stream", body) });
    let (told, _) = hear(&rig, "b7-debt", CHAT, &chat("", true)).await;
    let agreed = agree(&rig, &[told]).await;
    assert_eq!((agreed[0].row().basis.as_str(), agreed[0].row().output), ("exact", Some(5_000)), "{agreed:#?}");
    rig.stop().await;
}

/// A short stream in every line ending and with everything that server-sent events allow.
fn fixtures() -> Vec<String> {
    let model = "\"model\":\"gpt-4o-2024-08-06\"";
    let word = format!("{{{model},\"choices\":[{{\"delta\":{{\"content\":\"wörd\"}}}}]}}");
    let usage = format!("{{{model},\"choices\":[],\"usage\":{FINE}}}");
    let plain = format!("data: {word}\n\ndata:{usage}\n\n{DONE}");
    let rich = format!(
        "\u{feff}: a comment\n\nevent: only\n\nid: 7\nretry: 10\nevent: chunk\ndata: {word}\n\ndata: {{{model},\ndata: \
         \"choices\":[],\ndata: \"usage\":{FINE}}}\n\n: keep-alive\n\n{DONE}"
    );
    let mut all = vec![plain.clone(), plain.replace('\n', "\r\n"), plain.replace('\n', "\r"), rich.clone()];
    all.push(rich.replace('\n', "\r\n"));
    // Every line ends in another way.
    let mut mixed = String::new();
    for (at, line) in rich.split_terminator('\n').enumerate() {
        let _ = write!(mixed, "{line}{}", ["\n", "\r\n", "\r"][at % 3]);
    }
    all.push(mixed);
    all.push(plain.trim_end().to_owned());
    all
}

/// Plays a stream in these pieces and checks that it comes through byte for byte.
async fn pieces(rig: &Rig, nonce: &str, text: &str, cuts: &[usize]) -> Told {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let mut canned = Canned::new(200, "text/event-stream", bytes.clone());
    canned.chunks.clear();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        canned.chunks.push(bytes.slice(from..cut));
        from = cut;
    }
    canned.bill = Some(twenty(CHAT));
    rig.provider.enqueue(canned);
    let mut body = chat("", true);
    body["stream_options"] = json!({ "include_usage": true });
    let reply = rig.send(call(CHAT, nonce, &body)).await;
    assert_eq!((reply.body, reply.cut), (bytes, false), "{nonce}");
    Told { nonce: nonce.to_owned(), status: reply.status.as_u16(), usage: None }
}

// Mutation: in `sse.rs` take `\r` for no end of a line, or forget the state between two pieces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b10_a_stream_split_anywhere_passes_byte_for_byte_and_says_the_same_usage() {
    let rig = roomy(Script::default()).await;
    let (step, mut dice, mut log) = (rounds("PLIMSOLL_B10_STEP", 13), Dice(10), Vec::new());
    for (fixture, text) in fixtures().into_iter().enumerate() {
        for cut in (1..text.len()).skip(fixture % step).step_by(step) {
            log.push(pieces(&rig, &format!("b10-{fixture}-{cut}"), &text, &[cut]).await);
        }
        for sample in 0..text.len() / step {
            let (one, other) = (1 + dice.below(text.len() - 1), 1 + dice.below(text.len() - 1));
            let nonce = format!("b10-{fixture}-two-{sample}");
            log.push(pieces(&rig, &nonce, &text, &[one.min(other), one.max(other)]).await);
        }
    }
    for found in agree(&rig, &log).await {
        let row = found.row();
        let books = (row.basis.as_str(), row.input, row.output);
        assert_eq!(books, ("exact", Some(7), Some(20)), "{found:#?}");
    }
    rig.stop().await;
}

// Mutation: make `Billing::may_charge` false for 500 and 502; or return `Bill::free` for a 200 without usage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b12_an_error_is_charged_where_the_table_says_that_it_may_be_billed() {
    let error = r#"{"error":{"message":"something went wrong","type":"server_error"}}"#;
    let event = chat_events("", &format!("data: {error}\n\n"));
    let cases = [
        ("a 200 with an error document", 200, error.to_owned(), "estimated", true),
        ("an error in mid-stream", 200, event.clone(), "estimated", true),
        ("an error in mid-stream and an end", 200, event + DONE, "estimated", true),
        ("an empty 200", 200, String::new(), "estimated", true),
        ("a 200 that is a page", 200, "<html>so sorry</html>".to_owned(), "estimated", true),
        ("a 502 that is a page", 502, "<html>bad gateway</html>".to_owned(), "estimated", true),
        ("an empty 500", 500, String::new(), "estimated", true),
        ("a 504", 504, error.to_owned(), "estimated", true),
        ("a 500 with usage", 500, format!("{{\"error\":{{}},\"usage\":{FINE}}}"), "exact", true),
        ("a 400", 400, error.to_owned(), "exact", false),
        ("a 429", 429, error.to_owned(), "exact", false),
        ("a 503", 503, error.to_owned(), "exact", false),
        ("a 529", 529, error.to_owned(), "exact", false),
    ];
    for stream in [false, true] {
        let rig = Rig::start(Setup { policy: Some(ROOMY), ..Setup::default() }).await;
        let mut log = Vec::new();
        for (name, status, body, _, billed) in &cases {
            // The provider has read the input, said what it said, and bills that.
            let output_tokens = if body.contains("word") || body.contains("usage") { 20 } else { 0 };
            let bill = BillLine { output_tokens, status: *status, billed: *billed, ..twenty(CHAT) };
            rig.provider.enqueue(Canned { bill: Some(bill), ..Canned::new(*status, "text/plain", body.clone()) });
            let (told, reply) = hear(&rig, name, CHAT, &chat("", stream)).await;
            assert_eq!((reply.status.as_u16(), &reply.text()), (*status, body), "{name}");
            log.push(Told { usage: None, ..told });
        }
        for (found, (name, _, _, basis, billed)) in agree(&rig, &log).await.iter().zip(&cases) {
            assert_eq!((found.row().basis.as_str(), found.charged > 0), (*basis, *billed), "{name}: {found:#?}");
        }
        assert_eq!(rig.provider.requests().len(), cases.len(), "an error is not tried again");
        rig.stop().await;
    }
}
