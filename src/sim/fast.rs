//! Answers made before the first request comes, for load tests that want to measure anything but this provider.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;

use super::answer::Answer;
use super::ask::Ask;
use super::openai;
use super::reply::Talk;
use super::script::Script;

/// Words of the whole answer, which make its JSON about 2 kB long.
const WORDS: RangeInclusive<u64> = 300..=300;
/// Words of the stream: with its first and its last chunk they make 64 events before `[DONE]`.
const STREAM_WORDS: RangeInclusive<u64> = 62..=62;

/// The fixed answers and what each of them is billed.
#[derive(Debug)]
pub(super) struct Prebuilt {
    whole: Fixed,
    stream: Fixed,
    stream_with_usage: Fixed,
}

/// One fixed answer.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub(super) bytes: Bytes,
    pub(super) streamed: bool,
    pub(super) input: u64,
    pub(super) output: u64,
}

/// The bytes of the fixed answer to a chat completion: a JSON document of about 2 kB, or a stream of 64 events, and one more
/// with the usage where that is asked for, before `[DONE]`.
pub fn fixed_chat(streamed: bool, usage_wanted: bool) -> Bytes {
    fixed(&Script::fast(), streamed, usage_wanted).bytes
}

impl Prebuilt {
    pub(super) fn new(script: &Script) -> Self {
        Self {
            whole: fixed(script, false, false),
            stream: fixed(script, true, false),
            stream_with_usage: fixed(script, true, true),
        }
    }

    /// The answer for a body, found by two searches instead of a parse.
    pub(super) fn answer(&self, body: &[u8]) -> &Fixed {
        if !says_true(body, b"\"stream\"") {
            &self.whole
        } else if says_true(body, b"\"include_usage\"") {
            &self.stream_with_usage
        } else {
            &self.stream
        }
    }
}

fn says_true(body: &[u8], key: &[u8]) -> bool {
    let Some((_, rest)) = memmem::find(body, key).and_then(|at| body.split_at_checked(at + key.len())) else {
        return false;
    };
    let rest = rest.trim_ascii_start().strip_prefix(b":").unwrap_or_default();
    rest.trim_ascii_start().starts_with(b"true")
}

fn fixed(script: &Script, streamed: bool, usage_wanted: bool) -> Fixed {
    let answer_tokens = if streamed { STREAM_WORDS } else { WORDS };
    let script = Script { answer_tokens, ..script.clone() };
    let ask = Ask {
        model: "gpt-4o".to_owned(),
        streamed,
        usage_wanted,
        choices: 1,
        input: 100,
        vectors: 1,
        ..Ask::default()
    };
    let answer = Answer::compose(&script, &ask, script.seed);
    let bytes = if streamed {
        let mut talk = Talk::new(Duration::ZERO, script.seed, 0);
        openai::chat_stream(&ask, &answer, &mut talk, 1);
        talk.end().into_iter().flat_map(|piece| piece.bytes).collect()
    } else {
        openai::chat_whole(&answer).into()
    };
    Fixed { bytes, streamed, input: answer.input, output: answer.output }
}
