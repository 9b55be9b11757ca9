//! Edits applied to a body: what no edit touches stays as it is, byte for byte.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{ByteRange, Edits, Peek, Pieces, Rewritten};

/// What stands in the body's place.
type Text = Cow<'static, str>;

/// A replacement of a range; an empty range inserts.
type Cut = (ByteRange, Text);

/// Bodies up to this many bytes are copied with their edits into one piece, which costs less than to count references on slices
/// and to write them one by one.
const COPIED: usize = 16 * 1_024;

/// Edits on one body, in any order.
#[derive(Debug)]
pub(crate) struct Splice<'b> {
    body: &'b Bytes,
    cuts: SmallVec<[Cut; 4]>,
}

impl<'b> Splice<'b> {
    /// No edits yet.
    pub(crate) fn new(body: &'b Bytes) -> Self {
        Self { body, cuts: SmallVec::new() }
    }

    /// Writes `text` in place of `range`. A range outside the body is no edit.
    pub(crate) fn replace(&mut self, range: &ByteRange, text: impl Into<Text>) {
        if range.start <= range.end && range.end <= self.body.len() {
            self.cuts.push((range.clone(), text.into()));
        }
    }

    /// Inserts members (`"a":1,"b":2`) right behind the opening brace of the object in `object`.
    pub(crate) fn insert_members(&mut self, object: &ByteRange, members: &str) {
        let text = self.body.get(object.clone()).unwrap_or_default();
        let Some(brace) = memchr::memchr(b'{', text) else { return };
        let first = text.iter().skip(brace + 1).find(|byte| !byte.is_ascii_whitespace());
        let comma = if first == Some(&b'}') { "" } else { "," };
        let at = object.start + brace + 1;
        self.replace(&(at..at), format!("{members}{comma}"));
    }

    /// The body with its edits. Of two that overlap the first counts.
    pub(crate) fn finish(mut self) -> Pieces {
        self.cuts.sort_by_key(|(range, _)| range.start);
        let mut from = 0;
        self.cuts.retain(|(range, _)| {
            let apart = range.start >= from;
            from = if apart { range.end } else { from };
            apart
        });
        if self.body.len() > COPIED { self.slices() } else { SmallVec::from_buf([self.copy()]) }
    }

    fn copy(self) -> Bytes {
        let edits: usize = self.cuts.iter().map(|(_, text)| text.len()).sum();
        let mut whole = Vec::with_capacity(self.body.len() + edits);
        let mut from = 0;
        for (range, text) in &self.cuts {
            whole.extend_from_slice(self.body.get(from..range.start).unwrap_or_default());
            whole.extend_from_slice(text.as_bytes());
            from = range.end;
        }
        whole.extend_from_slice(self.body.get(from..).unwrap_or_default());
        whole.into()
    }

    fn slices(self) -> Pieces {
        let mut pieces = SmallVec::with_capacity(2 * self.cuts.len() + 1);
        let mut from = 0;
        for (range, text) in self.cuts {
            pieces.push(self.body.slice(from..range.start));
            pieces.push(Bytes::from(text.into_owned()));
            from = range.end;
        }
        pieces.push(self.body.slice(from..));
        pieces
    }
}

/// Which fields a dialect writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writes {
    /// The field that limits output tokens where the client named none.
    pub(crate) cap: Option<&'static str>,
    /// The object that holds it, when that is not the body.
    pub(crate) cap_parent: Option<&'static str>,
    /// The smallest limit that the provider takes.
    pub(crate) least_cap: u64,
    /// What stands before a model's name in the body (`models/`).
    pub(crate) model_prefix: &'static str,
}

/// Applies `edits` to `body` where `peek` found the places.
pub(crate) fn rewrite(body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>, writes: Writes) -> Rewritten {
    let mut splice = Splice::new(body);
    let mut members = Members::new();
    if let Some(model) = edits.model {
        let text = serde_json::Value::from(format!("{}{model}", writes.model_prefix)).to_string();
        match &peek.spans.model {
            Some(range) => splice.replace(range, text),
            None if writes.model_prefix.is_empty() => members.push(format!("\"model\":{text}").into()),
            None => {}
        }
    }
    if let (Some(cap), Some(field)) = (edits.cap, writes.cap) {
        write_cap(&mut splice, &mut members, peek, (cap.max(writes.least_cap), field, writes.cap_parent));
    }
    if let Some(tier) = edits.service_tier {
        let text = serde_json::Value::from(tier).to_string();
        match &peek.spans.service_tier {
            Some(range) => splice.replace(range, text),
            None => members.push(format!("\"service_tier\":{text}").into()),
        }
    }
    if edits.ask_usage {
        ask_usage(&mut splice, &mut members, peek);
    }
    if !members.is_empty() {
        splice.insert_members(&(0..body.len()), &members.join(","));
    }
    Rewritten { path: None, body: splice.finish() }
}

type Members = SmallVec<[Text; 4]>;
type Cap = (u64, &'static str, Option<&'static str>);

fn write_cap(splice: &mut Splice<'_>, members: &mut Members, peek: &Peek<'_>, cap: Cap) {
    let (cap, field, parent) = cap;
    let several = peek.spans.caps.len() > 1;
    for range in &peek.spans.caps {
        // Of two limits the lower one stays where it is lower already.
        let own =
            splice.body.get(range.clone()).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        if !(several && own.is_some_and(|own| own <= cap)) {
            splice.replace(range, cap.to_string());
        }
    }
    if !peek.spans.caps.is_empty() {
        return;
    }
    let member = format!("\"{field}\":{cap}");
    match (&peek.spans.cap_parent, parent) {
        (Some(range), _) if splice.body.get(range.start) == Some(&b'{') => splice.insert_members(range, &member),
        (Some(range), _) => splice.replace(range, format!("{{{member}}}")),
        (None, Some(parent)) => members.push(format!("\"{parent}\":{{{member}}}").into()),
        (None, None) => members.push(member.into()),
    }
}

fn ask_usage(splice: &mut Splice<'_>, members: &mut Members, peek: &Peek<'_>) {
    match (&peek.spans.include_usage, &peek.spans.stream_options) {
        (Some(range), _) => splice.replace(range, "true"),
        (None, Some(range)) if splice.body.get(range.start) == Some(&b'{') => {
            splice.insert_members(range, "\"include_usage\":true");
        }
        (None, Some(range)) => splice.replace(range, "{\"include_usage\":true}"),
        (None, None) => members.push("\"stream_options\":{\"include_usage\":true}".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(pieces: &[Bytes]) -> Vec<u8> {
        pieces.concat()
    }

    #[test]
    fn members_enter_empty_and_filled_objects() {
        for (body, expected) in [
            ("{}", r#"{"a":1}"#),
            (" { }", r#" {"a":1 }"#),
            (r#"{"b":2}"#, r#"{"a":1,"b":2}"#),
            ("{\n\"b\":2}", "{\"a\":1,\n\"b\":2}"),
        ] {
            let body = Bytes::from_static(body.as_bytes());
            let mut splice = Splice::new(&body);
            splice.insert_members(&(0..body.len()), "\"a\":1");
            assert_eq!(joined(&splice.finish()), expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn splicing_nothing_returns_the_same_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let body = Bytes::from(body);
            prop_assert_eq!(joined(&Splice::new(&body).finish()), body.to_vec());
        }

        #[test]
        fn splicing_keeps_what_no_edit_names(body in ".{0,80}", cuts in proptest::collection::vec((0usize..90, 0usize..9), 0..5)) {
            let body = Bytes::from(body);
            let mut splice = Splice::new(&body);
            let mut kept = body.len();
            let mut end = 0;
            let mut cuts = cuts;
            cuts.sort_unstable();
            for (start, length) in cuts {
                let range = start..start + length;
                if start >= end && range.end <= body.len() {
                    kept -= length;
                    end = range.end.max(start + 1);
                    splice.replace(&range, "");
                }
            }
            prop_assert_eq!(joined(&splice.finish()).len(), kept);
        }

        #[test]
        fn a_large_body_is_edited_like_a_small_one(
            cuts in proptest::collection::vec((0usize..90, 0usize..9, "[a-z]{0,3}"), 0..5), text in "[0-9]{60,99}",
        ) {
            let large = Bytes::from(format!("{text}{}", "x".repeat(COPIED)));
            let [small, large] = [Bytes::from(text), large].map(|body| {
                let mut splice = Splice::new(&body);
                for (start, length, text) in &cuts {
                    splice.replace(&(*start..start + length), text.clone());
                }
                (body.len(), splice.finish())
            });
            prop_assert_eq!(small.1.len(), 1);
            // Edits that reach behind the small body are none there.
            if cuts.iter().all(|(start, length, _)| start + length <= small.0) {
                let (small, large) = (joined(&small.1), joined(&large.1));
                prop_assert_eq!(&small[..], &large[..small.len()]);
                prop_assert_eq!(large.len(), small.len() + COPIED);
            }
        }
    }
}
