//! The meter's ear: reads model, usage and ending out of an answer as it passes, whatever the chunk boundaries.
//!
//! A tap never changes, delays or refuses a byte. What it cannot read is unknown, never zero: `Usage` stays empty, and
//! `Answer` says whether the answer was whole, an error, absurd, or too large to read.

use serde_json::Value;

use super::estimate::BYTES_PER_TOKEN;
use super::json_tap::{JsonTap, Sink};
use super::outline::{Absurd, Outline, Written, forget_absurd};
use super::sse::{Events, Sse};
use super::want::{Slot, Want};
use super::{Dialect, Framing};
use crate::domain::usage::Usage;

/// What a dialect reads of its answers.
#[derive(Debug)]
pub struct Reading {
    /// What is wanted of a document.
    pub(crate) wants: Want,
    /// Puts reported usage on one footing.
    pub(crate) usage: fn(&Reported<'_>) -> Result<Usage, Absurd>,
}

/// Usage as the provider reported it; `None` where it did not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported<'o> {
    /// The last usage object.
    pub(crate) usage: Option<Written<'o>>,
    /// The last of the second kind (see [`Slot::SideUsage`]).
    pub(crate) side: Option<Written<'o>>,
}

/// What an answer said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Tokens; unknown where nothing was reported or what was reported is absurd.
    pub usage: Usage,
    /// Of absurd usage, the numbers that are not absurd themselves.
    pub remains: Usage,
    /// The model that answered.
    pub model: Option<String>,
    /// Whether the terminal marker, or the end of the document, was seen.
    pub complete: bool,
    /// Whether the answer is an error or has one inside.
    pub error: bool,
    /// Whether a number of the usage was refused: negative, not whole, or above 2⁴⁰.
    pub absurd: bool,
    /// Whether usage was given up because it was too large to hold (64 KiB).
    pub blind: bool,
    /// The service tier that the provider says it used.
    pub service_tier: Option<String>,
    /// Why the answer ended, in the provider's word: `stop`, `max_tokens`, `incomplete`, `STOP`.
    pub finish: Option<String>,
}

/// Reads one answer.
#[derive(Debug)]
pub struct Tap {
    reading: &'static Reading,
    framing: Option<Framing>,
    asked: Framing,
    json: JsonTap,
    sse: Sse,
    notes: Notes,
}

impl Tap {
    /// A tap for an answer of `dialect`. `framing` is what the request asked for; the first bytes of the answer decide.
    pub fn new(dialect: &'static dyn Dialect, framing: Framing) -> Self {
        let reading = dialect.reading();
        let json = JsonTap::new(&reading.wants);
        Self { reading, framing: None, asked: framing, json, sse: Sse::new(), notes: Notes::default() }
    }

    /// Reads the next decoded bytes.
    pub fn read(&mut self, decoded: &[u8]) {
        let decoded = if self.framing.is_none() { self.decide(decoded) } else { decoded };
        match self.framing {
            None => {}
            Some(Framing::Json | Framing::JsonArray) => self.json.read(decoded, &mut self.notes),
            Some(Framing::Sse) => {
                self.sse.read(decoded, &mut Event { json: &mut self.json, notes: &mut self.notes });
            }
        }
    }

    /// About how many output tokens have passed, for answers that were cut: a quarter of the text's bytes, and at least one per
    /// event that carried text. Counts strings as they are written in JSON, escapes and the short type words of structured
    /// content included.
    pub fn seen_output_tokens(&self) -> u64 {
        self.notes.text.div_ceil(BYTES_PER_TOKEN).max(self.notes.spoken)
    }

    /// The answer has ended, or was cut.
    pub fn finish(&mut self) -> Answer {
        if self.framing == Some(Framing::Sse) {
            self.sse.finish(&mut Event { json: &mut self.json, notes: &mut self.notes });
        }
        let notes = std::mem::take(&mut self.notes);
        let (usage, side) = (Outline::of(&notes.usage), Outline::of(&notes.side));
        let reported = Reported { usage: usage.value(), side: side.value() };
        let usage = (self.reading.usage)(&reported);
        let absurd = usage.is_err();
        let remains = if absurd { self.without_nonsense(&notes) } else { Usage::default() };
        let usage = usage.unwrap_or_default();
        let whole = match self.framing.unwrap_or(self.asked) {
            Framing::Json => notes.documents > 0,
            Framing::JsonArray => self.json.closed,
            Framing::Sse => notes.terminal || (notes.finish.is_some() && usage.is_known()),
        };
        Answer {
            usage,
            remains,
            model: notes.model,
            complete: whole,
            error: notes.error,
            absurd,
            blind: notes.blind,
            service_tier: notes.tier.or_else(|| tier(&reported)),
            finish: notes.finish,
        }
    }

    /// What absurd usage still says when the nonsense is taken out.
    fn without_nonsense(&self, notes: &Notes) -> Usage {
        let [usage, side] = [&notes.usage, &notes.side].map(|raw| {
            let mut value = serde_json::from_slice::<Value>(raw).unwrap_or_default();
            forget_absurd(&mut value);
            Outline::of_value(&value)
        });
        (self.reading.usage)(&Reported { usage: usage.value(), side: side.value() }).unwrap_or_default()
    }

    /// Looks at the first byte that is neither space nor byte-order mark.
    fn decide<'d>(&mut self, decoded: &'d [u8]) -> &'d [u8] {
        let skipped = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0xEF | 0xBB | 0xBF);
        let start = decoded.iter().take_while(|byte| skipped(byte)).count();
        let rest = decoded.get(start..).unwrap_or_default();
        self.framing = match rest.first() {
            None => None,
            Some(b'{') => Some(Framing::Json),
            Some(b'[') => {
                self.json.expect_elements();
                Some(Framing::JsonArray)
            }
            Some(_) => Some(Framing::Sse),
        };
        rest
    }
}

fn tier(reported: &Reported<'_>) -> Option<String> {
    let names = ["service_tier", "serviceTier", "trafficType"];
    [reported.usage, reported.side]
        .into_iter()
        .flatten()
        .find_map(|usage| names.iter().find_map(|name| usage.get(name)).and_then(Written::text))
}

/// What was heard so far.
#[derive(Debug, Default)]
struct Notes {
    usage: Vec<u8>,
    side: Vec<u8>,
    model: Option<String>,
    tier: Option<String>,
    finish: Option<String>,
    error: bool,
    terminal: bool,
    blind: bool,
    documents: u64,
    text: u64,
    /// Events that carried text.
    spoken: u64,
    /// The text before the present event.
    text_before: u64,
    /// The first bytes of the present event's data, to know `[DONE]`.
    head: [u8; 8],
    head_length: usize,
}

impl Sink for Notes {
    fn value(&mut self, slot: Slot, raw: &[u8]) {
        if raw == b"null" {
            return;
        }
        match slot {
            Slot::Usage => keep(&mut self.usage, raw),
            Slot::SideUsage => keep(&mut self.side, raw),
            Slot::Model => note(&mut self.model, raw),
            Slot::Tier => note(&mut self.tier, raw),
            Slot::Finish => note(&mut self.finish, raw),
            Slot::Error => self.error |= raw != b"false",
            Slot::Kind => {
                let word = raw.trim_ascii();
                self.error |= word == b"\"error\"";
                let ends = ["response.completed", "response.incomplete", "response.failed", "message_stop"];
                self.terminal |= ends.iter().any(|end| word.get(1..end.len() + 1) == Some(end.as_bytes()));
            }
            Slot::Choices => {}
        }
    }

    fn text(&mut self, bytes: usize) {
        self.text = self.text.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn too_long(&mut self, slot: Slot) {
        self.blind |= matches!(slot, Slot::Usage | Slot::SideUsage);
        self.error |= slot == Slot::Error;
    }

    fn document(&mut self) {
        self.documents += 1;
    }
}

fn keep(place: &mut Vec<u8>, raw: &[u8]) {
    place.clear();
    place.extend_from_slice(raw);
}

/// Keeps the last text that says something; numbers (enums as integers) are kept as they are written.
fn note(place: &mut Option<String>, raw: &[u8]) {
    let inner = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    if inner.is_some_and(<[u8]>::is_empty) || place.as_ref().is_some_and(|known| Some(known.as_bytes()) == inner) {
        return;
    }
    let text = match inner {
        Some(_) => serde_json::from_slice::<String>(raw).ok(),
        None => std::str::from_utf8(raw).ok().map(str::to_owned),
    };
    if text.is_some() {
        *place = text;
    }
}

/// The data of one event on its way into the scanner.
struct Event<'t> {
    json: &'t mut JsonTap,
    notes: &'t mut Notes,
}

impl Events for Event<'_> {
    fn data(&mut self, piece: &[u8]) {
        let begins = self.notes.head_length == 0;
        let free = self.notes.head.get_mut(self.notes.head_length..).unwrap_or_default();
        let length = free.len().min(piece.len());
        if let (Some(free), Some(head)) = (free.get_mut(..length), piece.get(..length)) {
            free.copy_from_slice(head);
            self.notes.head_length += length;
        }
        if begins {
            self.json.begin(piece, self.notes);
        } else {
            self.json.read(piece, self.notes);
        }
    }

    fn end(&mut self) {
        let head = self.notes.head.get(..self.notes.head_length).unwrap_or_default();
        self.notes.terminal |= head.trim_ascii() == b"[DONE]";
        self.notes.head_length = 0;
        self.notes.spoken += u64::from(self.notes.text > self.notes.text_before);
        self.notes.text_before = self.notes.text;
        self.json.reset();
    }
}

/// The sum of what is known; `None` when nothing is.
pub(crate) fn sum<const N: usize>(counts: [Option<u64>; N]) -> Option<u64> {
    counts.into_iter().flatten().reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::openai_chat::OpenAiChat;

    #[test]
    fn output_is_counted_as_it_passes() {
        let mut tap = Tap::new(&OpenAiChat, Framing::Sse);
        for piece in "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\" you\"}}]}\n\n".as_bytes().chunks(3) {
            tap.read(piece);
        }
        assert_eq!(tap.seen_output_tokens(), 3, "nine bytes");
        for _ in 0..10 {
            tap.read(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[]}\n\n");
        }
        assert_eq!(tap.seen_output_tokens(), 12, "an event with text is at least a token");
    }

    #[test]
    fn what_nonsense_leaves_is_kept_apart() {
        for nonsense in
            ["-9", "1.5", "1e30", "9223372036854775808", "18446744073709551616", "\"7\"", "[4]", "{}", "true"]
        {
            let mut tap = Tap::new(&OpenAiChat, Framing::Json);
            tap.read(format!("{{\"usage\":{{\"prompt_tokens\":12,\"completion_tokens\":{nonsense}}}}}").as_bytes());
            let answer = tap.finish();
            assert!(answer.absurd && !answer.usage.is_known(), "{nonsense}");
            assert_eq!((answer.remains.input, answer.remains.output), (Some(12), None), "{nonsense}");
        }
    }
}
