//! `within`: which budget stands under which. It is a statement that `check` holds to account, and no rule: every budget acts
//! on the calls that it counts, and a call that two budgets count is held to both.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::domain::window::Span;
use crate::policy::budget::{Budget, Within};
use crate::policy::reader::Problems;
use crate::policy::tree::Node;

use super::{Ground, reference};

/// A budget's name and what it writes under `within`.
pub(super) type Link<'t> = (Arc<str>, &'t Node);

/// Ties each child to its parent. `E127` for a circle, `E128` for two that cannot be compared.
pub(super) fn bind(budgets: &mut [Budget], links: &[Link<'_>], ground: &Ground<'_, '_>, problems: &mut Problems) {
    let index = |budgets: &[Budget], name: &str| budgets.binary_search_by(|budget| (*budget.name).cmp(name)).ok();
    for (child, node) in links {
        let Some(parent) = reference("budget", node, &ground.document.budgets, problems) else { continue };
        let (Some(child), Some(parent)) = (index(budgets, child), index(budgets, parent)) else { continue };
        if let Some(circle) = circle(budgets, child, parent) {
            let fault = Diagnostic::error("E127", format!("budgets stand within each other: {circle}"));
            problems.push(fault.at(&node.place, "").help("leave out one `within` of the circle"));
            continue;
        }
        if let Some(why) = misfit(&budgets[child], &budgets[parent]) {
            let (child, parent) = (&budgets[child].name, &budgets[parent].name);
            let fault = Diagnostic::error("E128", format!("budget `{child}` does not fit within `{parent}`"));
            problems.push(fault.at(&node.place, why.label).help(why.help));
            continue;
        }
        budgets[child].within = Some(Within { parent, place: node.place.clone() });
    }
}

/// `a → b → a`, when the parent already stands within the child.
fn circle(budgets: &[Budget], child: usize, parent: usize) -> Option<String> {
    let mut names = vec![&*budgets[child].name, &*budgets[parent].name];
    let mut at = parent;
    // What is bound so far has no circle, so this ends.
    while at != child {
        at = budgets[at].within.as_ref()?.parent;
        names.push(&budgets[at].name);
    }
    names.dedup();
    if names.len() == 1 {
        names.push(names[0]);
    }
    Some(names.join(" → "))
}

struct Misfit {
    label: &'static str,
    help: &'static str,
}

fn misfit(child: &Budget, parent: &Budget) -> Option<Misfit> {
    let (Span::Calendar(shorter), Span::Calendar(longer)) = (child.span, parent.span) else {
        let help = "take `within` away; every budget that counts a call applies to it anyway";
        return Some(Misfit { label: "rolling windows and workflows have no share of a period", help });
    };
    if child.unit != parent.unit {
        return Some(Misfit { label: "it counts in another unit", help: "name a budget of the same unit" });
    }
    if shorter > longer {
        return Some(Misfit {
            label: "its period is shorter",
            help: "name a budget of the same period or a longer one",
        });
    }
    if !parent.per.iter().all(|dimension| child.per.contains(dimension)) {
        let help = "name a budget whose `per` is a part of this one's";
        return Some(Misfit { label: "one counter here belongs to several there", help });
    }
    None
}
