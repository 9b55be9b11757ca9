//! The events of a stream begin alike, byte for byte: `{"id":…,"object":…,"model":…,"choices":[{"index":0,"delta":{`. What
//! the scanner made of such a beginning it knows already, and goes on behind it.
//!
//! A beginning is passed over only where reading it again would change nothing: it holds no counted text, and nothing that
//! was captured in it has been captured once more behind it.

use super::want::{Slot, Want};

/// The deepest container that is looked into.
pub(super) const DEEPEST: usize = 6;

/// The containers that are looked into, from the outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    /// How many they are.
    pub(super) length: usize,
    /// What is wanted of each.
    pub(super) frames: [&'static Want; DEEPEST],
}

/// The longest beginning that is kept.
const LONGEST: usize = 512;

/// How the last event began, up to the brace of an object that is looked into.
#[derive(Debug)]
pub(super) struct Echo {
    text: Vec<u8>,
    path: Path,
    /// The length of the present event's beginning.
    marked: usize,
    /// The present event is read from its start and has no counted text so far.
    listens: bool,
    /// One bit per slot that was captured in the beginning, and behind it.
    before: u16,
    since: u16,
}

impl Echo {
    /// Nothing has been heard.
    pub(super) fn new(path: Path) -> Self {
        Self { text: Vec::new(), path, marked: 0, listens: false, before: 0, since: 0 }
    }

    /// An event begins with this piece. Where the scanner may go on and inside of what, if it began like the last one.
    pub(super) fn recall(&mut self, piece: &[u8]) -> Option<(usize, Path)> {
        let unchanged = self.before & std::mem::take(&mut self.since) == 0;
        self.listens = true;
        if unchanged && !self.text.is_empty() && piece.starts_with(&self.text) {
            return Some((self.text.len(), self.path));
        }
        self.text.clear();
        self.marked = 0;
        self.before = 0;
        None
    }

    /// The first piece of the event has been read.
    pub(super) fn keep(&mut self, piece: &[u8]) {
        self.listens = false;
        self.text.extend_from_slice(piece.get(self.text.len()..self.marked).unwrap_or_default());
    }

    /// An object that is looked into has opened, before `at`.
    pub(super) fn opened(&mut self, at: usize, path: &Path) {
        if self.listens && at <= LONGEST {
            self.marked = at;
            self.path = *path;
            self.before |= std::mem::take(&mut self.since);
        }
    }

    /// Text has been counted.
    pub(super) fn counted(&mut self) {
        self.listens = false;
    }

    /// A value has been captured.
    pub(super) fn captured(&mut self, slot: Slot) {
        self.since |= 1 << (slot as u16);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::wire::Framing;
    use crate::wire::anthropic_messages::AnthropicMessages;
    use crate::wire::openai_chat::OpenAiChat;
    use crate::wire::tap::{Answer, Tap};

    const BEGINNINGS: [&str; 4] = [
        r#"{"id":"c","model":"a","choices":[{"index":0,"delta":{"#,
        r#"{"model":"a","service_tier":"flex","choices":[{"delta":{"content":"x"},"finish_reason":"stop"},{"delta":{"#,
        r#"{"type":"message_start","message":{"#,
        r#"{"error":{},"usage":{"prompt_tokens":1},"choices":[{"delta":{"#,
    ];
    const ENDS: [&str; 5] = [
        r#""content":"hello"},"finish_reason":null}],"usage":null}"#,
        r#"},"finish_reason":"length"}],"model":"b","usage":{"prompt_tokens":7,"completion_tokens":2}}"#,
        r#""text":"a"},"type":"message_stop","service_tier":"default","model":"c"}"#,
        r#""usage":{"input_tokens":3,"output_tokens":4},"model":"d"}}"#,
        r#""content":"cut"#,
    ];

    fn answers(events: &[(usize, usize)], between: &str) -> [(Answer, u64); 2] {
        [Tap::new(&OpenAiChat, Framing::Sse), Tap::new(&AnthropicMessages, Framing::Sse)].map(|mut tap| {
            for (beginning, end) in events {
                tap.read(format!("data: {}{}\n\n{between}", BEGINNINGS[*beginning], ENDS[*end]).as_bytes());
            }
            let seen = tap.seen_output_tokens();
            (tap.finish(), seen)
        })
    }

    proptest! {
        #[test]
        fn events_that_begin_alike_say_the_same_as_events_that_do_not(
            events in proptest::collection::vec((0usize..4, 0usize..5), 0..9), once in 0usize..4,
        ) {
            let alike: Vec<_> = events.iter().map(|(_, end)| (once, *end)).collect();
            for events in [events, alike] {
                // An event that is no object makes the next one unlike the last one.
                prop_assert_eq!(answers(&events, ""), answers(&events, "data: -\n\n"));
            }
        }
    }
}
