//! Segments: what always applies to the tenants of one kind, whatever was spent.

use std::sync::Arc;

use crate::domain::content::Content;
use crate::domain::model::is_release_of;

use super::Written;
use super::decision::ToolOutput;
use super::exception::Never;
use super::glob::Glob;
use super::ladder::Remedies;
use super::watch::Watch;

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its name.
    pub name: Arc<str>,
    /// `segment.rag_heavy`: how a decision names it.
    pub origin: Arc<str>,
    /// What always applies: a cap, a route.
    pub remedies: Remedies,
    /// What is not done, whatever budgets and plan say.
    pub never: Never,
    /// Models that only approved prompts may use.
    pub flagship: Option<Flagship>,
    /// The longest result of a tool that is taken, in tokens.
    pub max_tool_output: Option<u64>,
    /// What is told of and changes nothing.
    pub watch: Option<Arc<Watch>>,
    /// Where it is written.
    pub written: Written,
}

/// The gate before the flagship models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flagship {
    /// The models, each for its dated releases too.
    pub models: Vec<Glob>,
    /// The versions of prompts that may use them.
    pub prompts: Vec<Glob>,
    /// What happens to other prompts that ask for one of the models.
    pub otherwise: Remedies,
}

impl Flagship {
    /// Whether a call asks for a flagship model with a prompt that may not use it.
    pub fn turns_away(&self, model: &str, prompt: &str) -> bool {
        self.guards(model) && !self.prompts.iter().any(|glob| glob.matches(prompt))
    }

    /// Whether a model is a flagship.
    pub fn guards(&self, model: &str) -> bool {
        self.models.iter().any(|glob| glob.matches(model) || (glob.is_literal() && is_release_of(model, glob.as_str())))
    }
}

impl Segment {
    /// Whether it asks how long the results of tools in a request are.
    pub fn looks_at_content(&self) -> bool {
        let watched = self.watch.as_ref().and_then(|watch| watch.tool_output_tokens);
        self.max_tool_output.or(watched).is_some()
    }

    /// What is too long about the results of tools in a request.
    pub fn excess(&self, content: &Content) -> Option<ToolOutput> {
        let limit = self.max_tool_output.filter(|limit| content.longest_tool_output > *limit)?;
        Some(ToolOutput { tokens: content.longest_tool_output, limit })
    }
}
