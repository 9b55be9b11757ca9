//! What a budget counts, as one text: its name, match, per, span and time zone, in one form for one meaning.
//!
//! Counters in the ledger belong to a budget as long as this text is the same, and the text alone tells which rows they are
//! the sum of: verification and corrections need no policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::domain::attribution::INVALID;
use crate::domain::clock::Timestamp;
use crate::domain::standing::Dimensions;
use crate::domain::window::{Period, Span, Window, calendar_window};

use super::KEY_SEPARATOR;
use super::budget::{Dimension, Matcher};
use super::condition::{Condition, Patterns};
use super::glob::Glob;

/// What a budget counts.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The budget's name.
    pub budget: Arc<str>,
    matcher: Matcher,
    per: Vec<Dimension>,
    span: Span,
    zone: TimeZone,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    budget: Arc<str>,
    #[serde(rename = "match", default, skip_serializing_if = "Conditions::is_empty")]
    matches: Conditions,
    per: Vec<String>,
    span: String,
    zone: String,
}

impl Text {
    fn per(&self) -> Option<Vec<Dimension>> {
        self.per.iter().map(|word| dimension(word)).collect()
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conditions {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    all: BTreeMap<String, Vec<String>>,
    /// In its one form, so that blanks and brackets change nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not: Option<Box<Self>>,
}

impl Conditions {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.when.is_none() && self.not.is_none()
    }

    fn of(matcher: &Matcher) -> Self {
        let globs = |globs: &[Glob]| globs.iter().map(|glob| glob.as_str().to_owned()).collect();
        let all = matcher.all.iter().map(|(dimension, patterns)| (dimension.as_str().to_owned(), globs(patterns)));
        Self {
            all: all.collect(),
            when: matcher.when.as_ref().map(ToString::to_string),
            not: matcher.not.as_ref().map(|not| Box::new(Self::of(not))),
        }
    }

    fn matcher(&self, patterns: &Patterns) -> Option<Matcher> {
        let globs = |texts: &[String]| texts.iter().map(|text| Glob::new(text)).collect();
        let all = self.all.iter().map(|(word, texts)| Some((dimension(word)?, globs(texts))));
        let mut all: Vec<(Dimension, Vec<Glob>)> = all.collect::<Option<_>>()?;
        all.sort();
        let when = match &self.when {
            // What plans and segments there were is over: the text was checked when it was written.
            Some(text) => Some(Arc::new(Condition::read(text, &|_, _| None, patterns).ok()?)),
            None => None,
        };
        let not = match &self.not {
            Some(not) => Some(Box::new(not.matcher(patterns)?)),
            None => None,
        };
        Some(Matcher { all, when, not })
    }
}

fn dimension(word: &str) -> Option<Dimension> {
    Dimension::ALL.into_iter().find(|(known, _)| *known == word).map(|(_, dimension)| dimension)
}

fn span(text: &str) -> Option<Span> {
    if let Some(period) = Period::parse(text) {
        return Some(Span::Calendar(period));
    }
    if text == Span::Workflow.to_string() {
        return Some(Span::Workflow);
    }
    let seconds = text.strip_prefix("rolling ")?.strip_suffix(" s")?;
    Some(Span::Rolling(Duration::from_secs(seconds.parse().ok()?)))
}

/// The text of a budget. `zone` is the zone's IANA name.
pub(super) fn text(name: &str, matcher: &Matcher, per: &[Dimension], span: Span, zone: &str) -> Arc<str> {
    let text = Text {
        budget: Arc::from(name),
        matches: Conditions::of(matcher),
        per: per.iter().map(|dimension| dimension.as_str().to_owned()).collect(),
        span: span.to_string(),
        zone: zone.to_owned(),
    };
    // Texts, lists and maps with texts for keys: there is nothing that JSON could refuse.
    Arc::from(serde_json::to_string(&text).unwrap_or_default())
}

impl Identity {
    /// Reads a text back. `None`: another version of Plimsoll wrote it.
    pub fn parse(text: &str, patterns: &Patterns) -> Option<Self> {
        let text: Text = serde_json::from_str(text).ok()?;
        Some(Self {
            matcher: text.matches.matcher(patterns)?,
            per: text.per()?,
            span: span(&text.span)?,
            zone: TimeZone::get(&text.zone).ok()?,
            budget: text.budget,
        })
    }

    /// The counter of a row: its key and its window. `None`: this budget does not count it.
    pub fn place(&self, dimensions: &Dimensions<'_>, at: Timestamp) -> Option<(String, Window)> {
        if !counts(&self.matcher, &self.per, dimensions) {
            return None;
        }
        Some((key(&self.per, dimensions), self.window(at)))
    }

    /// The window that holds a moment.
    pub fn window(&self, at: Timestamp) -> Window {
        window(self.span, &self.zone, at)
    }
}

/// Whose counters they are: of which budget, and what their keys name. Reads no `match`, whose patterns are work.
#[derive(Debug)]
pub struct Holder {
    /// The budget's name.
    pub budget: Arc<str>,
    per: Vec<Dimension>,
}

impl Holder {
    /// Reads it in the text of an identity. `None`: another version of Plimsoll wrote it.
    pub fn parse(text: &str) -> Option<Self> {
        let text: Text = serde_json::from_str(text).ok()?;
        Some(Self { per: text.per()?, budget: text.budget })
    }

    /// The tenant that a counter's key names, where there is a counter per tenant.
    pub fn tenant_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        let at = self.per.iter().position(|dimension| *dimension == Dimension::TenantId)?;
        key.split(KEY_SEPARATOR).nth(at)
    }
}

/// Whether `match` fits, and the budget is not per workflow without one.
pub(super) fn counts(matcher: &Matcher, per: &[Dimension], dimensions: &Dimensions<'_>) -> bool {
    !lacks_workflow(per, dimensions) && matcher.fits(dimensions)
}

/// Whether a call belongs to no workflow where each has a counter. Ids that were refused name none: they would be one for all.
pub(super) fn lacks_workflow(per: &[Dimension], dimensions: &Dimensions<'_>) -> bool {
    per.contains(&Dimension::WorkflowId) && dimensions.workflow_id.is_none_or(|id| id == INVALID)
}

/// The values of `per`, joined by [`KEY_SEPARATOR`]; empty for a shared counter.
pub(super) fn key(per: &[Dimension], dimensions: &Dimensions<'_>) -> String {
    let mut key = String::new();
    for (at, dimension) in per.iter().enumerate() {
        if at > 0 {
            key.push(KEY_SEPARATOR);
        }
        key.push_str(dimension.of(dimensions));
    }
    key
}

/// The window of a span that holds `at`; of rings, the bucket.
pub(super) fn window(span: Span, zone: &TimeZone, at: Timestamp) -> Window {
    match span {
        Span::Calendar(period) => calendar_window(period, zone, at),
        Span::Rolling(_) | Span::Workflow => span.ring().map_or(Window::EVER, |ring| ring.bucket(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>() -> Dimensions<'a> {
        Dimensions {
            tenant_id: "globex",
            plan: Some("growth"),
            segment: None,
            endpoint_tag: "digest.weekly",
            prompt_version: "v3",
            data_mode: "real",
            environment: "prod",
            user_id: None,
            workflow_id: None,
            provider: "openai",
            model: "gpt-4o",
        }
    }

    #[test]
    fn a_text_says_what_is_counted_and_reads_back() {
        let starter = vec![(Dimension::Plan, vec![Glob::new("starter|\"x\"")])];
        let not = Matcher { all: starter, ..Matcher::default() };
        let digests = vec![(Dimension::EndpointTag, vec![Glob::new("digest.*")])];
        let matcher = Matcher { all: digests, not: Some(Box::new(not)), ..Matcher::default() };
        let per = [Dimension::TenantId, Dimension::UserId];
        let text = text("digest_quota", &matcher, &per, Span::Calendar(Period::Month), "Europe/Berlin");
        insta::assert_snapshot!(text, @r#"{"budget":"digest_quota","match":{"all":{"endpointTag":["digest.*"]},"not":{"all":{"plan":["starter|\"x\""]}}},"per":["tenantId","userId"],"span":"month","zone":"Europe/Berlin"}"#);
        let identity = Identity::parse(&text, &Patterns::default()).expect("our own text");
        let at = Timestamp::from_seconds(1_795_000_000);
        let (key, window) = identity.place(&call(), at).expect("a counter");
        assert_eq!((key.as_str(), window.contains(at)), ("globex\u{1f}", true));
        assert!(identity.place(&Dimensions { endpoint_tag: "support", ..call() }, at).is_none());
        assert!(identity.place(&Dimensions { plan: Some("starter|\"x\""), ..call() }, at).is_none());
    }

    #[test]
    fn texts_of_others_are_not_guessed_at() {
        for text in
            ["", "{}", "name|match|per|month|UTC", r#"{"budget":"a","per":["shoeSize"],"span":"month","zone":"UTC"}"#]
        {
            assert!(Identity::parse(text, &Patterns::default()).is_none(), "{text}");
            assert!(Holder::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn whose_a_counter_is_is_told_without_reading_what_it_counts() {
        let text = r#"{"budget":"a","match":{"when":"of another version"},"per":["plan","tenantId"],"span":"month","zone":"UTC"}"#;
        assert!(Identity::parse(text, &Patterns::default()).is_none());
        let holder = Holder::parse(text).expect("a budget and dimensions");
        assert_eq!((&*holder.budget, holder.tenant_of("growth\u{1f}globex")), ("a", Some("globex")));
        let shared = Holder::parse(r#"{"budget":"b","per":["plan"],"span":"month","zone":"UTC"}"#).expect("another");
        assert_eq!(shared.tenant_of("growth"), None);
    }
}
