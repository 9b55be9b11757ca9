//! Edits applied to a body: what no edit touches stays a slice of the original, byte for byte.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{ByteRange, Edits, Peek, Rewritten};

/// A replacement of a range; an empty range inserts.
type Cut = (ByteRange, Vec<u8>);

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
    pub(crate) fn replace(&mut self, range: &ByteRange, text: impl Into<Vec<u8>>) {
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

    /// The body in pieces.
    pub(crate) fn finish(mut self) -> SmallVec<[Bytes; 7]> {
        self.cuts.sort_by_key(|(range, _)| range.start);
        let mut pieces = SmallVec::new();
        let mut from = 0;
        for (range, text) in self.cuts {
            if range.start < from {
                continue;
            }
            if range.start > from {
                pieces.push(self.body.slice(from..range.start));
            }
            if !text.is_empty() {
                pieces.push(Bytes::from(text));
            }
            from = range.end;
        }
        if from < self.body.len() {
            pieces.push(self.body.slice(from..));
        }
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
    let mut members: SmallVec<[String; 4]> = SmallVec::new();
    if let Some(model) = edits.model {
        let text = serde_json::Value::from(format!("{}{model}", writes.model_prefix)).to_string();
        match &peek.spans.model {
            Some(range) => splice.replace(range, text),
            None if writes.model_prefix.is_empty() => members.push(format!("\"model\":{text}")),
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
            None => members.push(format!("\"service_tier\":{text}")),
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

type Cap = (u64, &'static str, Option<&'static str>);

fn write_cap(splice: &mut Splice<'_>, members: &mut SmallVec<[String; 4]>, peek: &Peek<'_>, cap: Cap) {
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
        (None, Some(parent)) => members.push(format!("\"{parent}\":{{{member}}}")),
        (None, None) => members.push(member),
    }
}

fn ask_usage(splice: &mut Splice<'_>, members: &mut SmallVec<[String; 4]>, peek: &Peek<'_>) {
    match (&peek.spans.include_usage, &peek.spans.stream_options) {
        (Some(range), _) => splice.replace(range, "true"),
        (None, Some(range)) if splice.body.get(range.start) == Some(&b'{') => {
            splice.insert_members(range, "\"include_usage\":true");
        }
        (None, Some(range)) => splice.replace(range, "{\"include_usage\":true}"),
        (None, None) => members.push("\"stream_options\":{\"include_usage\":true}".to_owned()),
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
    }
}
