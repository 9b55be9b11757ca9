//! What a request carries, as far as a rule of the policy asks for it.

/// The facts of a request's body that routes and limits of segments look at. Unless a rule asks, they say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// Tokens of input, counted generously. `None` when the request refers to input that it does not carry.
    pub input: Option<u64>,
    /// It offers tools.
    pub tools: bool,
    /// It shows images.
    pub images: bool,
    /// About how many tokens the longest result of a tool has.
    pub longest_tool_output: u64,
    /// About how many tokens all results of tools have together.
    pub tool_output: u64,
    /// The dialect has a field for the service tier.
    pub takes_tier: bool,
}

impl Content {
    /// What is assumed of a call whose body is not at hand: it fits every model.
    pub fn passing(provider: &str) -> Self {
        Self { input: Some(0), takes_tier: provider == "openai", ..Self::default() }
    }
}
