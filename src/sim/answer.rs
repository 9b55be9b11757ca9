//! The answer to one request: how long it is, where the cap cuts it, and its words. Decided before the first byte leaves.

use super::ask::Ask;
use super::bill::BillLine;
use super::script::Script;

/// No mark makes an answer longer.
const LONGEST: u64 = 200_000;

const WORDS: [&str; 32] = [
    "the", "week", "was", "calm", "and", "most", "teams", "shipped", "their", "work", "on", "time", "with", "two",
    "small", "delays", "in", "billing", "review", "because", "a", "vendor", "changed", "its", "format", "late", "so",
    "plan", "one", "spare", "day", "ahead",
];

const DATED: [(&str, &str); 13] = [
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("gpt-4.1", "gpt-4.1-2025-04-14"),
    ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
    ("gpt-5", "gpt-5-2025-08-07"),
    ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
    ("gpt-5-nano", "gpt-5-nano-2025-08-07"),
    ("o3", "o3-2025-04-16"),
    ("o4-mini", "o4-mini-2025-04-16"),
    ("claude-opus-4-5", "claude-opus-4-5-20251101"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
    ("claude-opus-4-1", "claude-opus-4-1-20250805"),
];

/// The dated name that answers for `asked`.
pub(super) fn dated(asked: &str) -> &str {
    DATED.iter().find(|(name, _)| *name == asked).map_or(asked, |(_, dated)| dated)
}

/// Models that refuse `max_tokens` and hide a part of their output.
pub(super) fn reasons(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5"].iter().any(|start| model.starts_with(start))
}

/// Numbers that look random and are the same each time (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `low..=high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        let width = high.saturating_sub(low).saturating_add(1);
        low.saturating_add(self.roll() % width)
    }
}

/// An answer, all choices included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// 32 hexadecimal digits: the stem of every id in the answer.
    pub(super) id: String,
    /// The second at which the provider says that it answered.
    pub(super) created: i64,
    pub(super) model: String,
    pub(super) input: u64,
    pub(super) cached: u64,
    /// All output tokens: `(visible + reasoning per choice) × choices`.
    pub(super) output: u64,
    /// Hidden tokens of all choices.
    pub(super) reasoning: u64,
    /// Tokens that can be read, per choice.
    pub(super) visible: u64,
    pub(super) choices: u64,
    /// The cap ended the answer.
    pub(super) cut: bool,
    seed: u64,
}

impl Answer {
    /// What `script` says to `ask`.
    pub(super) fn compose(script: &Script, ask: &Ask, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let id = format!("{:016x}{:016x}", dice.roll(), dice.roll());
        let drawn = dice.between(*script.answer_tokens.start(), *script.answer_tokens.end());
        let wanted = ask.marks.of("tokens").unwrap_or(drawn).min(LONGEST);
        let hidden = if reasons(&ask.model) { script.reasoning_tokens } else { 0 };
        let one = ask.cap.map_or(wanted, |cap| wanted.min(cap));
        let reasoning = ask.marks.of("reasoning").unwrap_or(hidden).min(one);
        Self {
            id,
            created: 1_779_000_000 + i64::try_from(seed % 1_000_000).unwrap_or(0),
            model: dated(&ask.model).to_owned(),
            input: ask.input,
            cached: ask.cached(),
            output: one.saturating_mul(ask.choices),
            reasoning: reasoning.saturating_mul(ask.choices),
            visible: one.saturating_sub(reasoning),
            choices: ask.choices,
            cut: one < wanted,
            seed,
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// The visible text of one choice in pieces of `per_piece` tokens, each with its count. One word is one token; the words
    /// need no escaping in JSON.
    pub(super) fn pieces(&self, choice: u64, per_piece: u64) -> Vec<(String, u64)> {
        let mut dice = Dice::new(self.seed.wrapping_add(choice).wrapping_add(1));
        let mut pieces: Vec<(String, u64)> = Vec::new();
        for at in 0..self.visible {
            if at.is_multiple_of(per_piece.max(1)) {
                pieces.push((String::new(), 0));
            }
            let word = usize::try_from(dice.roll() % 32).ok().and_then(|at| WORDS.get(at)).copied().unwrap_or("and");
            if let Some((text, tokens)) = pieces.last_mut() {
                if at > 0 {
                    text.push(' ');
                }
                text.push_str(word);
                *tokens += 1;
            }
        }
        pieces
    }

    /// The visible text of one choice.
    pub(super) fn text(&self, choice: u64) -> String {
        self.pieces(choice, u64::MAX).pop().map(|(text, _)| text).unwrap_or_default()
    }

    /// The line that this answer is on the bill when it has been sent.
    pub(super) fn line(&self, path: &str, ask: &Ask) -> BillLine {
        BillLine {
            nonce: String::new(),
            path: path.to_owned(),
            asked: ask.model.clone(),
            model: self.model.clone(),
            input_tokens: self.input,
            cached_input_tokens: self.cached,
            output_tokens: self.output,
            reasoning_tokens: self.reasoning,
            status: 200,
            streamed: ask.streamed,
            billed: true,
            finished: true,
            open: false,
        }
    }
}

/// A JSON string with its quotes.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
