//! Budgets: whom they count, what limits them, which ladder they climb.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;

use crate::diagnostic::Diagnostic;
use crate::domain::attribution::{DataMode, Environment};
use crate::domain::standing::Unit;
use crate::domain::window::Span;
use crate::policy::amount::{self, LimitText};
use crate::policy::budget::{Amount, Budget, Dimension, Limit, Matcher};
use crate::policy::glob::Glob;
use crate::policy::identity;
use crate::policy::ladder::Ladder;
use crate::policy::reader::{Entry, Fields, Problems, expect_list, expect_str, expect_word};
use crate::policy::tree::{Kind, Node};
use crate::policy::{Mode, Written};

use super::family::{self, Link};
use super::rules::PlanLimit;
use super::spans::{self, Spanned};
use super::{Ground, conditions, ladders, reference, value};

/// Every budget, sorted by name.
pub(super) fn all(
    ground: &Ground<'_, '_>,
    named: &BTreeMap<Arc<str>, Ladder>,
    plan_limits: &[PlanLimit],
    mode: Mode,
    problems: &mut Problems,
) -> Vec<Budget> {
    let shop = Shop { ground, named, plan_limits, mode };
    let entries = ground.document.budgets.iter();
    let mut links = Vec::new();
    let budgets = entries.filter_map(|(key, node)| shop.budget((key, node), &mut links, problems));
    let mut budgets: Vec<Budget> = budgets.collect();
    budgets.sort_by(|one, other| one.name.cmp(&other.name));
    family::bind(&mut budgets, &links, ground, problems);
    budgets
}

/// What a budget is made from.
struct Shop<'g, 't, 's> {
    ground: &'g Ground<'t, 's>,
    named: &'g BTreeMap<Arc<str>, Ladder>,
    plan_limits: &'g [PlanLimit],
    mode: Mode,
}

impl<'t> Shop<'_, 't, '_> {
    fn budget(&self, (key, node): Entry<'t>, links: &mut Vec<Link<'t>>, problems: &mut Problems) -> Option<Budget> {
        let name = key.text.as_str();
        let mut fields = Fields::of(node, format!("budget `{name}`"), problems)?;
        let per = fields.value("per").map(|node| dimensions(node, problems)).unwrap_or_default();
        let matcher = fields.value("match").map(|node| self.matcher(node, problems)).unwrap_or_default();
        let limit_node = fields.value("limit");
        let escalation = fields.value("escalation");
        let mode = fields.value("mode").and_then(|node| super::mode(node, problems));
        links.extend(fields.value("within").map(|node| (Arc::from(name), node)));
        let grace = fields.value("grace").and_then(|node| value(node, "`grace`", amount::percent, problems));
        let review_by = fields.value("review_by").and_then(|node| self.review(name, node, problems));
        self.require(&fields, &[("limit", limit_node), ("escalation", escalation)], problems);
        fields.finish("not a budget key", problems);
        let limit = limit_node.and_then(|node| self.limit(name, node, &per, problems));
        let steps = escalation.and_then(|node| self.ladder(name, node, problems))?;
        let ladder = steps.of_budget(name, grace);
        let is_its_own = escalation.is_some_and(|node| matches!(node.kind, Kind::Map(_)));
        let (limit, unit, span) = limit?;
        spans::check(&Spanned { name, span, per: &per, ladder: &ladder }, (limit_node, escalation), problems);
        Some(Budget {
            name: Arc::from(name),
            span,
            unit,
            mode: mode.unwrap_or(self.mode),
            hard: ladder.blocks_all() && matches!(span, Span::Calendar(_)),
            ladder,
            own_steps: is_its_own.then_some(steps),
            grace,
            identity: identity::text(name, &matcher, &per, span, &self.ground.zone_name),
            per,
            matcher,
            limit,
            within: None,
            review_by,
            written: Written::from(&key.place),
        })
    }

    /// What a budget must have. A misspelt key is reported once, as unknown: then nothing is called missing.
    fn require(&self, fields: &Fields<'_>, needed: &[(&str, Option<&Node>)], problems: &mut Problems) {
        for (name, node) in needed {
            if node.is_some() || fields.has_slip_of(name) {
                continue;
            }
            let example = if *name == "limit" {
                "$50/month".to_owned()
            } else {
                let known = self.named.keys().next();
                known.map_or_else(|| "{ contain: { at: 100%, block: all } }".to_owned(), ToString::to_string)
            };
            let fault = Diagnostic::error("E105", format!("{} has no `{name}`", fields.what())).at(fields.place(), "");
            problems.push(fault.help(format!("add `{name}: {example}`")));
        }
    }

    fn ladder(&self, name: &str, node: &Node, problems: &mut Problems) -> Option<Ladder> {
        if let Kind::Map(_) = node.kind {
            return Some(ladders::ladder(name, &format!("budget `{name}`"), node, self.ground, problems));
        }
        let escalation = reference("escalation", node, &self.ground.document.escalations, problems)?;
        self.named.get(escalation).cloned()
    }

    fn limit(
        &self,
        name: &str,
        node: &Node,
        per: &[Dimension],
        problems: &mut Problems,
    ) -> Option<(Limit, Unit, Span)> {
        let exchange = &self.ground.exchange;
        let read = |text: &str| amount::limit(text, exchange);
        let (limit, unit, period) = match value(node, "`limit`", read, problems)? {
            LimitText::Fixed { amount, unit, per } => return Some((Limit::Own(Amount::Fixed(amount)), unit, per)),
            LimitText::Revenue { share, per } => {
                let amount = Amount::Revenue { share, per, rate: exchange.own() };
                (Limit::Own(amount), Unit::Money, Span::Calendar(per))
            }
            LimitText::Plan => {
                let (unit, period) = self.plan_unit(node, problems)?;
                (Limit::Plan, unit, period)
            }
        };
        if !per.contains(&Dimension::TenantId) {
            let fault =
                Diagnostic::error("E125", format!("budget `{name}` is shared, and its limit differs by tenant"));
            problems.push(fault.at(&node.place, "").help("add `per: [tenantId]`, or write a fixed amount"));
        }
        Some((limit, unit, period))
    }

    /// One counter has one unit and one period, so every plan must agree.
    fn plan_unit(&self, node: &Node, problems: &mut Problems) -> Option<(Unit, Span)> {
        let Some(first) = self.plan_limits.first() else {
            let fault = Diagnostic::error("E131", "no plan has an `llm_budget`").at(&node.place, "used here");
            problems.push(fault.help("write `plans: { starter: { llm_budget: $12/month } }`, or a fixed amount"));
            return None;
        };
        for other in self.plan_limits.iter().filter(|other| (other.unit, other.per) != (first.unit, first.per)) {
            let message = format!("plans `{}` and `{}` count in different units or periods", first.plan, other.plan);
            let fault = Diagnostic::error("E124", message).at(&other.place, "").see(&first.place, "the other one");
            problems.push(fault.help("give every plan's `llm_budget` the same unit and period"));
        }
        for (key, _) in &self.ground.document.plans {
            let known = self.plan_limits.iter().any(|limit| *limit.plan == *key.text);
            if !known && !problems.iter().any(|one| one.code == "W134" && one.place.as_ref() == Some(&key.place)) {
                let message =
                    format!("plan `{}` has no `llm_budget`, so `plan.llm_budget` does not limit it", key.text);
                problems
                    .push(Diagnostic::warning("W134", message).at(&key.place, "").help("add `llm_budget: $50/month`"));
            }
        }
        Some((first.unit, first.per))
    }

    fn review(&self, name: &str, node: &Node, problems: &mut Problems) -> Option<Date> {
        let date = value(node, "`review_by`", amount::date, problems)?;
        let today = self.ground.surroundings.now.to_jiff().to_zoned_datetime(self.ground.zone.clone()).date();
        if date < today {
            let fault = Diagnostic::warning("W164", format!("the review of budget `{name}` is overdue"));
            problems
                .push(fault.at(&node.place, "").help("promote it to `mode: enforce`, delete it, or set a later date"));
        }
        Some(date)
    }

    fn matcher(&self, node: &Node, problems: &mut Problems) -> Matcher {
        let Some(mut fields) = Fields::of(node, "`match`", problems) else { return Matcher::default() };
        let mut all = Vec::new();
        for (word, dimension) in Dimension::ALL {
            let Some((_, node)) = fields.take(word) else { continue };
            all.push((dimension, self.globs(dimension, node, problems)));
        }
        let when = fields.value("when").and_then(|node| conditions::condition(node, self.ground, problems));
        let not = fields.value("not").map(|node| Box::new(self.matcher(node, problems)));
        fields.finish("not a dimension", problems);
        all.sort_by_key(|(dimension, _)| *dimension);
        Matcher { all, when, not }
    }

    fn globs(&self, dimension: Dimension, node: &Node, problems: &mut Problems) -> Vec<Glob> {
        let what = format!("`{}`", dimension.as_str());
        let Some(items) = expect_list(node, &what, problems) else { return Vec::new() };
        if items.is_empty() {
            let fault = Diagnostic::error("E106", format!("{what} is empty, so the budget would count nothing"));
            problems.push(fault.at(&node.place, "").help("name at least one value, or leave the key out"));
        }
        let mut globs: Vec<Glob> =
            items.into_iter().filter_map(|item| self.glob(dimension, &what, item, problems)).collect();
        globs.sort();
        globs.dedup();
        globs
    }

    /// Plans and segments must be defined; data modes and environments are closed lists; the rest are patterns.
    fn glob(&self, dimension: Dimension, what: &str, node: &Node, problems: &mut Problems) -> Option<Glob> {
        let modes = [DataMode::Real, DataMode::Test, DataMode::Demo].map(|mode| (mode.as_str(), ()));
        let places = [Environment::Prod, Environment::Staging, Environment::Dev].map(|place| (place.as_str(), ()));
        let text = expect_str(node, what, problems)?;
        match dimension {
            _ if text.contains('*') => {}
            Dimension::Plan => drop(reference("plan", node, &self.ground.document.plans, problems)?),
            Dimension::Segment => drop(reference("segment", node, &self.ground.document.segments, problems)?),
            Dimension::DataMode => expect_word(node, what, &modes, problems)?,
            Dimension::Environment => expect_word(node, what, &places, problems)?,
            _ => {}
        }
        Some(Glob::new(text))
    }
}

/// What has its own counter, in one order whatever the file's.
fn dimensions(node: &Node, problems: &mut Problems) -> Vec<Dimension> {
    let items = expect_list(node, "`per`", problems).unwrap_or_default();
    let mut per: Vec<Dimension> =
        items.into_iter().filter_map(|item| expect_word(item, "`per`", &Dimension::ALL, problems)).collect();
    per.sort();
    per.dedup();
    per
}
