//! `replay:`: whether finished answers are given again, for how long, and in how much memory.

use crate::gateway::ReplayRules;
use crate::policy::reader::Fields;
use crate::policy::tree::Node;

use super::{Boot, units};

impl Boot<'_> {
    pub(super) fn replay(&mut self, node: &Node) -> ReplayRules {
        let mut rules = ReplayRules::default();
        let Some(mut fields) = Fields::of(node, "`replay`", self.problems) else { return rules };
        if let Some(keep) = fields.value("keep").and_then(|node| units::duration(node, self.problems)) {
            rules.keep = keep;
        }
        if let Some(memory) = fields.value("memory").and_then(|node| units::bytes(node, self.problems)) {
            rules.memory = memory;
        }
        fields.finish("not a key of `replay`", self.problems);
        rules
    }
}
