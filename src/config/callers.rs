//! Who is told and who is believed: `notify:` and `attribution:`.

use std::sync::Arc;

use crate::alert::target::{Target, Targets};
use crate::diagnostic::Diagnostic;
use crate::gateway::TrustedNetwork;
use crate::gateway::identify::AttributionRules;
use crate::policy::reader::{Fields, expect_bool, expect_list, expect_map, expect_str, later};
use crate::policy::tree::Node;

use super::{Boot, units};

impl Boot<'_> {
    pub(super) fn targets(&mut self, node: Option<&Node>) -> Targets {
        let entries = node.and_then(|node| expect_map(node, "`notify`", self.problems)).unwrap_or_default();
        let mut targets = Vec::new();
        for (key, value) in entries {
            if let Some(target) = self.target(&key.text, value) {
                targets.push((Arc::from(key.text.as_str()), target));
            }
        }
        Targets::new(targets)
    }

    fn target(&mut self, name: &str, node: &Node) -> Option<Target> {
        let mut fields = Fields::of(node, format!("target `{name}`"), self.problems)?;
        let webhook = fields.value("webhook").and_then(|node| expect_str(node, "`webhook`", self.problems));
        let slack = fields.value("slack").and_then(|node| expect_str(node, "`slack`", self.problems));
        let secret = fields.value("secret").and_then(|node| expect_str(node, "`secret`", self.problems));
        let place = fields.place().clone();
        fields.finish("not a key of a target", self.problems);
        let target = match (webhook, slack) {
            (Some(url), None) => Target::webhook(url, secret.unwrap_or_default()),
            (None, Some(url)) => Target::slack(url),
            _ => {
                let fault = Diagnostic::error("E022", format!("target `{name}` has either `webhook` or `slack`"));
                self.problems.push(fault.at(&place, ""));
                return None;
            }
        };
        target
            .map_err(|error| {
                self.problems.push(Diagnostic::error("E023", format!("target `{name}`: {error}")).at(&place, ""));
            })
            .ok()
    }

    pub(super) fn attribution(&mut self, node: Option<&Node>) -> (AttributionRules, Vec<TrustedNetwork>) {
        let mut rules = AttributionRules::default();
        let mut networks = units::loopback_networks();
        let Some(mut fields) = node.and_then(|node| Fields::of(node, "`attribution`", self.problems)) else {
            return (rules, networks);
        };
        let aliases = fields.value("accept_aliases");
        let aliases = aliases.and_then(|node| expect_list(node, "`accept_aliases`", self.problems));
        rules.accept_aliases =
            aliases.into_iter().flatten().filter_map(|node| units::header(node, self.problems)).collect();
        let baggage = fields.value("baggage");
        rules.baggage = baggage.and_then(|node| expect_bool(node, "`baggage`", self.problems)).unwrap_or(false);
        for name in ["body", "hash_user_ids"] {
            let wanted = fields.value(name).filter(|node| expect_bool(node, name, self.problems) == Some(true));
            if let Some(node) = wanted {
                self.problems.push(later(&node.place, &format!("`{name}` is")));
            }
        }
        if let Some(node) = fields.value("trusted_networks") {
            let items = expect_list(node, "`trusted_networks`", self.problems).unwrap_or_default();
            networks = items.into_iter().filter_map(|node| units::network(node, self.problems)).collect();
        }
        fields.finish("not a key of `attribution`", self.problems);
        (rules, networks)
    }
}
