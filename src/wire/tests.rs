//! The wire as a whole: what requests say, how they are edited, what answers say, and that nothing panics.

use std::io::Write as _;

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;

use super::coding::{Coding, CodingError, Decoder};
use super::filter::UsageChunkFilter;
use super::tap::{Answer, Tap};
use super::*;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
const EVERY: [(Family, &str); 11] = [
    (Family::OpenAi, CHAT),
    (Family::OpenAi, "/v1/completions"),
    (Family::OpenAi, RESPONSES),
    (Family::OpenAi, "/v1/embeddings"),
    (Family::Anthropic, MESSAGES),
    (Family::Anthropic, "/v1/messages/count_tokens"),
    (Family::Gemini, GENERATE),
    (Family::Gemini, STREAM),
    (Family::Gemini, "/v1beta/models/g:countTokens"),
    (Family::Gemini, "/v1beta/models/g:embedContent"),
    (Family::Gemini, "/v1beta/models/g:batchEmbedContents"),
];

fn target(path: &str) -> Target<'_> {
    Target { method: &Method::POST, path, query: None }
}

fn dialect(path: &str) -> &'static dyn Dialect {
    let family = EVERY.iter().find(|(_, known)| *known == path).expect("a known path").0;
    match operation(family, &target(path)) {
        Operation::Known(dialect) => dialect,
        other => panic!("{path}: {other:?}"),
    }
}

fn peek<'a>(path: &'a str, body: &'a str) -> Peek<'a> {
    dialect(path).peek(&target(path), body.as_bytes()).unwrap_or_else(|fault| panic!("{body}: {fault}"))
}

fn rewritten(path: &str, body: &str, edits: &Edits<'_>) -> String {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let out = dialect(path).rewrite(&target(path), &bytes, &peek(path, body), edits);
    String::from_utf8(out.body.concat()).expect("UTF-8")
}

fn answer(path: &str, framing: Framing, body: &str) -> Answer {
    let mut tap = Tap::new(dialect(path), framing);
    tap.read(body.as_bytes());
    tap.finish()
}

#[test]
fn caps_are_written_where_the_client_wrote_them() {
    let cap = Edits { cap: Some(300), ..Edits::default() };
    for (path, body, expected) in [
        (CHAT, r#"{"max_tokens": 900,"x":1}"#, r#"{"max_tokens": 300,"x":1}"#),
        (CHAT, r#"{"max_completion_tokens":900}"#, r#"{"max_completion_tokens":300}"#),
        (
            CHAT,
            r#"{"max_tokens":100,"max_completion_tokens":900}"#,
            r#"{"max_tokens":100,"max_completion_tokens":300}"#,
        ),
        (CHAT, r#"{"max_tokens":null}"#, r#"{"max_tokens":300}"#),
        (
            CHAT,
            r#"{"max_tokens":null,"max_completion_tokens":900}"#,
            r#"{"max_tokens":null,"max_completion_tokens":300}"#,
        ),
        (CHAT, "{}", r#"{"max_completion_tokens":300}"#),
        ("/v1/completions", r#"{"prompt":"a"}"#, r#"{"max_tokens":300,"prompt":"a"}"#),
        (RESPONSES, r#"{"input":"a"}"#, r#"{"max_output_tokens":300,"input":"a"}"#),
        (MESSAGES, r#"{"max_tokens":0}"#, r#"{"max_tokens":300}"#),
        (GENERATE, r#"{"contents":[]}"#, r#"{"generationConfig":{"maxOutputTokens":300},"contents":[]}"#),
        (GENERATE, r#"{"generationConfig":{}}"#, r#"{"generationConfig":{"maxOutputTokens":300}}"#),
        (GENERATE, r#"{"generation_config":{"topK":1}}"#, r#"{"generation_config":{"maxOutputTokens":300,"topK":1}}"#),
        (GENERATE, r#"{"generationConfig":null}"#, r#"{"generationConfig":{"maxOutputTokens":300}}"#),
        (
            GENERATE,
            r#"{"generation_config":{"maxOutputTokens":9000}}"#,
            r#"{"generation_config":{"maxOutputTokens":300}}"#,
        ),
        (
            GENERATE,
            r#"{"generationConfig":{"max_output_tokens":9}}"#,
            r#"{"generationConfig":{"max_output_tokens":300}}"#,
        ),
        ("/v1/embeddings", r#"{"input":"a"}"#, r#"{"input":"a"}"#),
    ] {
        assert_eq!(rewritten(path, body, &cap), expected, "{body}");
    }
    let low = Edits { cap: Some(3), ..Edits::default() };
    assert_eq!(rewritten(RESPONSES, "{}", &low), r#"{"max_output_tokens":16}"#);
}

#[test]
fn usage_is_asked_for_in_chat_and_completions_only() {
    let ask = Edits { ask_usage: true, ..Edits::default() };
    for (body, expected) in [
        (r#"{"stream":true}"#, r#"{"stream_options":{"include_usage":true},"stream":true}"#),
        (r#"{"stream":true,"stream_options":null}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
        (r#"{"stream":true,"stream_options":{}}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
        (
            r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream":true,"stream_options":{"include_usage":null,"x":1}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true,"x":1}}"#,
        ),
    ] {
        assert_eq!(peek(CHAT, body).usage_flag, UsageFlag::NotAsked, "{body}");
        assert_eq!(rewritten(CHAT, body, &ask), expected);
        assert_eq!(peek(CHAT, expected).usage_flag, UsageFlag::Asked);
    }
    assert_eq!(peek(CHAT, "{}").usage_flag, UsageFlag::NotNeeded);
    for path in [RESPONSES, MESSAGES, STREAM] {
        assert_eq!(rewritten(path, r#"{"stream":true}"#, &ask), r#"{"stream":true}"#);
    }
    let all = Edits { model: Some("m\"2"), cap: Some(9), ask_usage: true, ..Edits::default() };
    assert_eq!(
        rewritten(CHAT, r#"{"stream":true,"model":"m1"}"#, &all),
        r#"{"max_completion_tokens":9,"stream_options":{"include_usage":true},"stream":true,"model":"m\"2"}"#
    );
}

#[test]
fn another_gemini_model_is_another_path() {
    let edits = Edits { model: Some("gemini-2.5-flash-lite"), ..Edits::default() };
    let body = Bytes::from_static(b"{}");
    let out = dialect(STREAM).rewrite(&target(STREAM), &body, &peek(STREAM, "{}"), &edits);
    assert_eq!(out.path.as_deref(), Some("/v1beta/models/gemini-2.5-flash-lite:streamGenerateContent"));
    assert_eq!(out.body.concat(), b"{}");
    let embed = rewritten("/v1beta/models/g:embedContent", r#"{"model":"models/g"}"#, &edits);
    assert_eq!(embed, r#"{"model":"models/gemini-2.5-flash-lite"}"#);
    let sse = Target { query: Some("key=k&alt=sse"), ..target(STREAM) };
    assert_eq!(dialect(STREAM).peek(&sse, b"{}").expect("read").framing, Framing::Sse);
    assert_eq!(peek(STREAM, "{}").framing, Framing::JsonArray);
}

#[test]
fn references_to_input_elsewhere_are_seen() {
    for (path, body) in [
        (CHAT, r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]}"#),
        (CHAT, r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}"#),
        (CHAT, r#"{"messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}"#),
        (CHAT, r#"{"web_search_options":{}}"#),
        (RESPONSES, r#"{"previous_response_id":"resp_1"}"#),
        (RESPONSES, r#"{"prompt":{"id":"pmpt_1"}}"#),
        (RESPONSES, r#"{"tools":[{"type":"web_search"}]}"#),
        (RESPONSES, r#"{"tools":[{"typ\u0065":"function","type":"mcp"}]}"#),
        (RESPONSES, r#"{"input":[{"content":[{"type":"input_image","image_url":"https://x"}]}]}"#),
        (RESPONSES, r#"{"input":[{"type":"item_reference","id":"x"}]}"#),
        (MESSAGES, r#"{"messages":[{"content":[{"type":"document","source":{"type":"url","url":"https://x"}}]}]}"#),
        (MESSAGES, r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#),
        (GENERATE, r#"{"cachedContent":"cachedContents/1"}"#),
        (GENERATE, r#"{"cached_content":"cachedContents/1"}"#),
        (GENERATE, r#"{"contents":[{"parts":[{"fileData":{"fileUri":"gs://x"}}]}]}"#),
        (GENERATE, r#"{"tools":[{"google_search":{}}]}"#),
    ] {
        assert!(peek(path, body).input_by_reference, "{body}");
    }
    for (path, body) in [
        (CHAT, r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]}"#),
        (CHAT, r#"{"tools":[{"type":"function","function":{"parameters":{"properties":{"url":{"type":"string"}}}}}]}"#),
        (RESPONSES, r#"{"previous_response_id":null,"tools":[{"type":"function"}],"input":"https://x"}"#),
        (MESSAGES, r#"{"tools":[{"name":"a","input_schema":{}},{"type":"bash_20250124"}]}"#),
        (GENERATE, r#"{"tools":[{"functionDeclarations":[{"name":"f"}]}]}"#),
    ] {
        assert!(!peek(path, body).input_by_reference, "{body}");
    }
}

#[test]
fn escaped_keys_below_the_top_count_as_what_they_say() {
    for (path, body) in [
        (RESPONSES, r#"{"tools":[{"typ\u0065":"web_search"}]}"#),
        (RESPONSES, r#"{"t\u006fols":[{"type":"web_search"}]}"#),
        (CHAT, r#"{"messages":[{"content":[{"file":{"file\u005fid":"f"}}]}]}"#),
        (GENERATE, r#"{"contents":[{"parts":[{"fileData":{"file\u0055ri":"gs://x"}}]}]}"#),
    ] {
        assert!(peek(path, body).input_by_reference, "{body}");
    }
}

#[test]
fn bounds_cover_text_messages_and_extras() {
    let body = r#"{"messages":[{"content":"hello"},{"content":"you"}]}"#;
    let plain = peek(CHAT, body);
    assert_eq!(plain.input_bound, body.len() as u64 + 32);
    assert_eq!(plain.input_estimate, 2 + 8);
    let tools = r#"{"tools":[{"type":"function"}],"messages":[]}"#;
    assert_eq!(peek(CHAT, tools).input_bound, tools.len() as u64 + 2048);
    assert_eq!(peek("/v1/completions", r#"{"prompt":["a","b"],"n":2,"best_of":3}"#).choices, 6);
    assert_eq!(peek("/v1/completions", r#"{"prompt":[1,2,3]}"#).choices, 1);
    assert_eq!(peek(GENERATE, r#"{"generationConfig":{"candidateCount":4}}"#).choices, 4);
    let thinking = peek(MESSAGES, r#"{"max_tokens":0,"thinking":{"type":"enabled","budget_tokens":2000}}"#);
    assert_eq!((thinking.cap, thinking.thinking_budget), (Some(0), Some(2000)));
    let dynamic = peek(GENERATE, r#"{"generationConfig":{"thinking_config":{"thinkingBudget":-1}}}"#);
    assert_eq!(dynamic.thinking_budget, None);
}

#[test]
fn streams_say_when_they_are_cut_or_fail() {
    let cut = answer(
        MESSAGES,
        Framing::Sse,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
    );
    assert_eq!((cut.usage.input, cut.usage.output, cut.complete, cut.error), (Some(9), Some(1), false, false));
    let failed = answer(CHAT, Framing::Sse, "event: error\ndata: {\"error\":{\"message\":\"x\"}}\n\n");
    assert!(failed.error && !failed.usage.is_known());
    let document = answer(CHAT, Framing::Sse, " {\"error\":{\"message\":\"x\"}}");
    assert!(document.error && document.complete);
    let open = answer(CHAT, Framing::Json, "{\"usage\":{\"prompt_tokens\":1},\"x\":[");
    assert!(!open.complete && open.usage.input == Some(1));
    let array = answer(STREAM, Framing::JsonArray, "[{\"error\":{\"code\":429}}]");
    assert!(array.error && array.complete);
}

#[test]
fn usage_is_read_at_its_place_and_never_believed_blindly() {
    let nested = answer(
        CHAT,
        Framing::Json,
        r#"{"x":{"usage":{"prompt_tokens":7}},"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":8}"}}]}"#,
    );
    assert!(!nested.usage.is_known());
    for number in ["-9", "1.5", "1e30", "99999999999999", "\"7\"", "{}"] {
        let absurd = answer(CHAT, Framing::Json, &format!("{{\"usage\":{{\"prompt_tokens\":{number}}}}}"));
        assert!(absurd.absurd && !absurd.usage.is_known(), "{number}");
    }
    let huge = format!("{{\"usage\":{{\"prompt_tokens\":1,\"x\":\"{}\"}}}}", "y".repeat(80_000));
    assert!(answer(CHAT, Framing::Json, &huge).blind);
    let groq = answer(
        CHAT,
        Framing::Sse,
        "data: {\"choices\":[{\"finish_reason\":\"stop\"}],\"x_groq\":{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}}\n\n",
    );
    assert_eq!((groq.usage.total(), groq.complete), (7, true));
    let xai = answer(
        CHAT,
        Framing::Json,
        r#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":30}}}"#,
    );
    assert_eq!(xai.usage.output, Some(35));
    let compacted = answer(
        MESSAGES,
        Framing::Json,
        r#"{"usage":{"input_tokens":162,"output_tokens":5,"iterations":[{"type":"compaction","input_tokens":99195,"output_tokens":800},{"type":"message","input_tokens":162,"output_tokens":5}]}}"#,
    );
    assert_eq!((compacted.usage.input, compacted.usage.output), (Some(99_357), Some(805)));
}

fn coded(coding: Coding, text: &[u8]) -> Vec<u8> {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    let level = Compression::default();
    match coding {
        Coding::Identity | Coding::Brotli => text.to_vec(),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).and_then(|()| encoder.finish()).expect("in memory")
        }
        Coding::Deflate if text.len().is_multiple_of(2) => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).and_then(|()| encoder.finish()).expect("in memory")
        }
        Coding::Deflate => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(text).and_then(|()| encoder.finish()).expect("in memory")
        }
        Coding::Zstd => ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest),
    }
}

fn decoded(coding: Coding, bytes: &[u8], size: usize) -> Result<Vec<u8>, CodingError> {
    let mut out = Vec::new();
    let mut decoder = Decoder::new(coding);
    for piece in bytes.chunks(size) {
        decoder.push(piece, &mut |text| out.extend_from_slice(text))?;
    }
    Ok(out)
}

#[test]
fn a_brotli_answer_is_decoded_in_pieces() {
    // `{"usage":{"prompt_tokens":1}}` as one uncompressed meta-block and an empty last one.
    let text = b"{\"usage\":{\"prompt_tokens\":1}}";
    let mut brotli = vec![0x0b, 0x0e, 0x80];
    brotli.extend_from_slice(text);
    brotli.push(0x03);
    for size in [1, 7, 64] {
        assert_eq!(decoded(Coding::Brotli, &brotli, size).as_deref(), Ok(text.as_slice()), "{size}");
    }
}

#[test]
fn a_gzip_stream_is_decoded_as_it_comes_and_a_bomb_is_refused() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"data: {}\n\n").and_then(|()| encoder.flush()).expect("in memory");
    assert_eq!(decoded(Coding::Gzip, encoder.get_ref(), 3).as_deref(), Ok(b"data: {}\n\n".as_slice()));
    let bomb = coded(Coding::Gzip, &vec![0; 32 << 20]);
    assert_eq!(decoded(Coding::Gzip, &bomb, 1 << 16), Err(CodingError::Bomb));
    assert_eq!(decoded(Coding::Gzip, b"not gzip at all", 5), Err(CodingError::Corrupt));
    assert_eq!(Coding::parse("GZIP"), Some(Coding::Gzip));
    assert_eq!(Coding::parse("gzip, br"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_coded_is_decoded(text in proptest::collection::vec(any::<u8>(), 0..5000), size in 1usize..900) {
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            let bytes = coded(coding, &text);
            prop_assert_eq!(decoded(coding, &bytes, size), Ok(text.clone()), "{:?}", coding);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), size in 1usize..50) {
        for (_, path) in EVERY {
            let _ = dialect(path).peek(&target(path), &bytes);
            let mut tap = Tap::new(dialect(path), Framing::Sse);
            bytes.chunks(size).for_each(|piece| tap.read(piece));
            let _ = tap.finish();
        }
        let mut filter = UsageChunkFilter::new();
        for piece in bytes.chunks(size) {
            filter.push(Bytes::copy_from_slice(piece));
        }
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
            let _ = decoded(coding, &bytes, size);
        }
        let frame = [&[0x28, 0xB5, 0x2F, 0xFD][..], &bytes].concat();
        let _ = decoded(Coding::Zstd, &frame, size);
    }

    #[test]
    fn almost_json_never_panics_and_splits_agree(
        text in "(\\{|\\}|\\[|\\]|,|:|\"usage\"|\"choices\"|\"response\"|\"message\"|\"a\\\\\\\\\"|\"\\\\\"|-1|7|null|true| |\n|data:){0,40}",
        size in 1usize..9,
    ) {
        for (_, path) in EVERY {
            let _ = dialect(path).peek(&target(path), text.as_bytes());
            for prefix in ["", "{", "data: "] {
                let text = format!("{prefix}{text}");
                let mut pieces = Tap::new(dialect(path), Framing::Sse);
                text.as_bytes().chunks(size).for_each(|piece| pieces.read(piece));
                prop_assert_eq!(pieces.finish(), answer(path, Framing::Sse, &text));
            }
        }
    }

    #[test]
    fn no_edits_change_nothing_and_edits_read_back(
        model in "[a-z0-9.\"\\\\é-]{1,12}", cap in 16u64..100_000, stream in any::<bool>(), own in proptest::option::of(0u64..9999),
    ) {
        let mut body = serde_json::json!({ "model": "old", "messages": [{ "role": "user", "content": model }], "stream": stream });
        if let (Some(own), Some(members)) = (own, body.as_object_mut()) {
            members.insert("max_tokens".to_owned(), own.into());
        }
        let body = body.to_string();
        prop_assert_eq!(&rewritten(CHAT, &body, &Edits::default()), &body);
        let edited = rewritten(CHAT, &body, &Edits { model: Some(&model), cap: Some(cap), ask_usage: stream, ..Edits::default() });
        let again = peek(CHAT, &edited);
        prop_assert_eq!(again.model.as_deref(), Some(model.as_str()));
        prop_assert_eq!(again.cap, Some(cap));
        prop_assert_eq!(again.usage_flag, if stream { UsageFlag::Asked } else { UsageFlag::NotNeeded });
    }
}

#[test]
fn a_long_key_over_a_long_array_is_not_read_again_for_every_element() {
    // Read again each time, this takes minutes: two million elements times a key of a megabyte.
    let body = format!("{{\"{}\":[{}1],\"model\":\"m\"}}", "k".repeat(1 << 20), "0,".repeat(1 << 21));
    let target = Target { method: &Method::POST, path: "/v1/chat/completions", query: None };
    let Operation::Known(dialect) = operation(Family::OpenAi, &target) else { panic!("a known path") };
    let peek = dialect.peek(&target, body.as_bytes()).expect("legal JSON");
    assert_eq!(peek.model.as_deref(), Some("m"));
}
