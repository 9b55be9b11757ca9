//! Routes: which model is served instead of another. A target is only taken for a call that it can answer.

use std::sync::Arc;

use crate::domain::content::Content;
use crate::domain::model::is_release_of;

use super::Written;

/// One target of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// The model that is asked for: its name, which stands for its dated releases too.
    pub from: Arc<str>,
    /// The model that is served.
    pub to: Arc<str>,
    /// The service tier that is asked for with it.
    pub service_tier: Option<Arc<str>>,
    /// What a token in and a token out of the served model cost together, in pico-dollars, to find the cheapest.
    pub cost: Option<u64>,
    /// What the served model can do.
    pub abilities: Abilities,
    /// The context window of the model that is asked for.
    pub context_before: Option<u64>,
}

/// What the price table says that a model can do. What it does not say, the model can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// Tokens of input and output together.
    pub context: Option<u64>,
    /// The most tokens of output.
    pub max_output: Option<u64>,
    /// Whether it calls tools.
    pub tools: Option<bool>,
    /// Whether it sees images.
    pub vision: Option<bool>,
}

/// Cheaper models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// The rules, sorted by the model that is asked for; those of one model in the order of the file.
    pub rules: Vec<RouteRule>,
    /// Whether targets may be dearer.
    pub allow_more_expensive: bool,
    /// Where it is written.
    pub written: Written,
}

/// What a call asks of the model that answers it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The model.
    pub model: &'a str,
    /// The client's own limit on output tokens.
    pub cap: Option<u64>,
    /// What the request carries.
    pub content: &'a Content,
}

impl Route {
    /// The rule for a call: of those for the longest name that the model is a release of, the first whose target fits.
    /// `None` when there is none, or when the call asks for that target already.
    pub fn rule(&self, asked: &Asked<'_>) -> Option<&RouteRule> {
        let fitting = || self.rules.iter().filter(|rule| is_release_of(asked.model, &rule.from));
        let length = fitting().map(|rule| rule.from.len()).max()?;
        let first = fitting().filter(|rule| rule.from.len() == length).find(|rule| rule.fits(asked))?;
        (first.service_tier.is_some() || !is_release_of(asked.model, &first.to)).then_some(first)
    }

    /// Whether some target is known not to do what requests may ask for.
    pub fn looks_at_content(&self) -> bool {
        self.rules.iter().any(|rule| rule.abilities.tools == Some(false) || rule.abilities.vision == Some(false))
    }
}

impl RouteRule {
    /// Whether the target can answer a call. A model without a rule against it can.
    fn fits(&self, asked: &Asked<'_>) -> bool {
        let (can, content) = (&self.abilities, asked.content);
        let lacks = |wanted: bool, can: Option<bool>| wanted && can == Some(false);
        !lacks(content.tools, can.tools)
            && !lacks(content.images, can.vision)
            && (content.takes_tier || self.service_tier.is_none())
            && can.context.is_none_or(|window| self.holds(window, asked))
    }

    /// Whether a window holds the input and what is answered. Input that is elsewhere fits where it fitted before.
    fn holds(&self, window: u64, asked: &Asked<'_>) -> bool {
        let Some(input) = asked.content.input else {
            return self.context_before.is_some_and(|before| before <= window);
        };
        // A cap above what the model can write is lowered on the way.
        let output = asked.cap.unwrap_or(0).min(self.abilities.max_output.unwrap_or(u64::MAX));
        input.saturating_add(output) <= window
    }
}
