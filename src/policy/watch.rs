//! What is watched of a segment's calls: bounds that are told of when a call goes beyond them. They change nothing about it.

use std::fmt;
use std::sync::Arc;

/// From how many calls on their mean is judged: a few long ones at the start of a day are no drift.
const CALLS_FOR_A_MEAN: u64 = 20;

/// The bounds of a segment. At least one is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watch {
    /// Of all results of tools in a request together, in tokens.
    pub tool_output_tokens: Option<u64>,
    /// Of the calls of one workflow.
    pub steps: Option<u64>,
    /// Of the mean of a prompt version's input, in tokens.
    pub avg_input_tokens: Option<u64>,
    /// Of attributes that are numbers, sorted by name.
    pub attributes: Vec<Attribute>,
}

/// An attribute with its bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// As the policy says it: `retrieval.k`.
    pub name: Arc<str>,
    /// The bound.
    pub above: u64,
    /// As a header names it, after `plimsoll-attr-`: `retrieval-k`.
    short: Box<str>,
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure<'w> {
    /// The results of tools in a request.
    ToolOutput,
    /// The calls of a workflow.
    Steps,
    /// The mean input of a prompt version.
    AvgInput,
    /// An attribute.
    Attribute(&'w str),
}

/// What is known of a call that has ended. Absent is what does not speak for this call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'c> {
    /// About how many tokens all results of tools have together.
    pub tool_output_tokens: u64,
    /// How many calls its workflow has had, this one included.
    pub steps: Option<u64>,
    /// The input of the calls of its prompt version, this one included.
    pub input: Option<Mean>,
    /// Its attributes, by the ends of their headers' names.
    pub extras: &'c [(Box<str>, Box<str>)],
}

/// A bound, and what went beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond<'w> {
    /// What is watched.
    pub measure: Measure<'w>,
    /// What was seen; of a mean the next whole number.
    pub seen: u64,
    /// The bound.
    pub above: u64,
}

/// A mean in the making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mean {
    calls: u64,
    tokens: u64,
}

impl Mean {
    /// Takes in one more call.
    pub fn add(&mut self, tokens: u64) {
        self.calls = self.calls.saturating_add(1);
        self.tokens = self.tokens.saturating_add(tokens);
    }

    fn beyond(self, bound: u64) -> Option<u64> {
        let enough = self.calls >= CALLS_FOR_A_MEAN;
        let above = u128::from(self.tokens) > u128::from(bound) * u128::from(self.calls);
        (enough && above).then(|| self.tokens.div_ceil(self.calls))
    }
}

impl Attribute {
    /// An attribute by its name in the policy.
    pub fn new(name: &str, above: u64) -> Self {
        Self { name: Arc::from(name), above, short: name.chars().map(as_in_headers).collect() }
    }

    fn beyond(&self, extras: &[(Box<str>, Box<str>)]) -> Option<u64> {
        let is = |short: &str| short.chars().map(as_in_headers).eq(self.short.chars());
        let (_, value) = extras.iter().find(|(short, _)| is(short))?;
        value.parse().ok().filter(|seen| *seen > self.above)
    }
}

/// Names of headers have no capitals, and many proxies take no dot or underscore in them.
fn as_in_headers(letter: char) -> char {
    match letter {
        '.' | '_' => '-',
        other => other.to_ascii_lowercase(),
    }
}

impl Measure<'_> {
    /// The key in the policy.
    pub const fn as_str(&self) -> &str {
        match self {
            Self::ToolOutput => "tool_output_tokens",
            Self::Steps => "steps",
            Self::AvgInput => "avgInputTokens",
            Self::Attribute(name) => name,
        }
    }

    /// What the bound is per, where that is said.
    const fn per(self) -> &'static str {
        match self {
            Self::ToolOutput => "/request",
            Self::Steps => "/workflow",
            Self::AvgInput | Self::Attribute(_) => "",
        }
    }
}

impl Watch {
    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The bounds that a call goes beyond.
    pub fn beyond<'w>(&'w self, seen: &'w Seen<'_>) -> impl Iterator<Item = Beyond<'w>> {
        let tools = self.tool_output_tokens.filter(|above| seen.tool_output_tokens > *above);
        let tools = tools.map(|above| (Measure::ToolOutput, seen.tool_output_tokens, above));
        let steps = self.steps.zip(seen.steps).filter(|(above, seen)| seen > above);
        let steps = steps.map(|(above, seen)| (Measure::Steps, seen, above));
        let input = self.avg_input_tokens.zip(seen.input);
        let input = input.and_then(|(above, mean)| Some((Measure::AvgInput, mean.beyond(above)?, above)));
        let attributes = self.attributes.iter().filter_map(|attribute| {
            Some((Measure::Attribute(&attribute.name), attribute.beyond(seen.extras)?, attribute.above))
        });
        let all = tools.into_iter().chain(steps).chain(input).chain(attributes);
        all.map(|(measure, seen, above)| Beyond { measure, seen, above })
    }

    /// The bounds as they are written, in the order of the reference: `steps`, `above 12/workflow`.
    pub fn bounds(&self) -> impl Iterator<Item = (Measure<'_>, String)> {
        let fixed = [
            (Measure::ToolOutput, self.tool_output_tokens),
            (Measure::Steps, self.steps),
            (Measure::AvgInput, self.avg_input_tokens),
        ];
        let fixed = fixed.into_iter().filter_map(|(measure, above)| Some((measure, above?)));
        let attributes = self.attributes.iter().map(|one| (Measure::Attribute(&one.name), one.above));
        fixed.chain(attributes).map(|(measure, above)| (measure, format!("above {above}{}", measure.per())))
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (measure, bound)) in self.bounds().enumerate() {
            write!(f, "{}{} {bound}", if at == 0 { "" } else { ", " }, measure.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch {
            tool_output_tokens: Some(4_000),
            steps: Some(12),
            avg_input_tokens: Some(6_000),
            attributes: vec![Attribute::new("Retrieval.top_k", 12), Attribute::new("retrieval.depth", 2)],
        }
    }

    fn beyond(seen: &Seen<'_>) -> String {
        let watch = watch();
        let told = watch.beyond(seen).map(|one| format!("{} {} > {}", one.measure.as_str(), one.seen, one.above));
        told.collect::<Vec<_>>().join(", ")
    }

    fn mean(calls: u64, tokens: u64) -> Mean {
        Mean { calls, tokens }
    }

    // Mutations: `>=` in each of the comparisons.
    #[test]
    fn a_bound_itself_is_allowed_and_one_more_is_beyond() {
        let extras: [(Box<str>, Box<str>); 2] =
            [("retrieval-top-k".into(), "12".into()), ("retrieval-depth".into(), "2".into())];
        let seen = Seen { tool_output_tokens: 4_000, steps: Some(12), input: Some(mean(20, 120_000)), extras: &extras };
        assert_eq!(beyond(&seen), "");
        let extras: [(Box<str>, Box<str>); 2] =
            [("retrieval-top-k".into(), "13".into()), ("retrieval-depth".into(), "3".into())];
        let seen = Seen { tool_output_tokens: 4_001, steps: Some(13), input: Some(mean(20, 120_001)), extras: &extras };
        assert_eq!(
            beyond(&seen),
            "tool_output_tokens 4001 > 4000, steps 13 > 12, avgInputTokens 6001 > 6000, Retrieval.top_k 13 > 12, retrieval.depth 3 > 2"
        );
        assert_eq!(Watch::default().beyond(&seen).count(), 0, "what has no bound is not watched");
        assert_eq!(beyond(&Seen::default()), "", "and what is not known goes beyond nothing");
    }

    // Mutation: the mean is judged whatever it is made of; it is rounded down before it is compared.
    #[test]
    fn a_mean_is_judged_from_the_twentieth_call_on() {
        let seen = |input| beyond(&Seen { input: Some(input), ..Seen::default() });
        assert_eq!(seen(mean(19, u64::MAX)), "");
        assert_eq!(seen(mean(20, 120_019)), "avgInputTokens 6001 > 6000", "it is a little above");
        assert_eq!(seen(mean(u64::MAX, u64::MAX)), "");
        let mut one = Mean { calls: u64::MAX, tokens: u64::MAX };
        one.add(7);
        assert_eq!(one, Mean { calls: u64::MAX, tokens: u64::MAX });
    }

    // Mutation: names are compared as they are.
    #[test]
    fn an_attribute_is_a_header_however_that_is_spelled_and_no_number_is_no_attribute() {
        let seen = |short: &str, value: &str| {
            let extras: [(Box<str>, Box<str>); 1] = [(short.into(), value.into())];
            beyond(&Seen { extras: &extras, ..Seen::default() })
        };
        for short in ["retrieval-top-k", "retrieval.top_k", "retrieval.top-k"] {
            assert_eq!(seen(short, "20"), "Retrieval.top_k 20 > 12", "{short}");
        }
        assert_eq!(seen("retrieval", "20"), "");
        for value in ["", "many", "-20", "20.5", " 20", "99999999999999999999999"] {
            assert_eq!(seen("retrieval-top-k", value), "", "{value:?}");
        }
    }

    #[test]
    fn bounds_are_written_with_what_they_are_per() {
        assert_eq!(
            watch().to_string(),
            "tool_output_tokens above 4000/request, steps above 12/workflow, avgInputTokens above 6000, \
             Retrieval.top_k above 12, retrieval.depth above 2"
        );
    }
}
