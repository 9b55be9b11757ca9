//! Exceptions: complete, dated, not two at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{ToSpan, Unit as CalendarUnit};

use crate::diagnostic::{Diagnostic, Place};
use crate::domain::clock::Timestamp;
use crate::domain::tenant::is_valid_id;
use crate::domain::window::Span;
use crate::policy::Written;
use crate::policy::amount;
use crate::policy::budget::{Amount, Budget};
use crate::policy::exception::{Exception, WhenExpired};
use crate::policy::ladder::Ladder;
use crate::policy::reader::{Fields, Problems, expect_list};
use crate::policy::tree::Node;

use super::{Ground, ladders, reference, rules, text, value};

/// Every exception that has not expired; of the others only the form is checked.
pub(super) fn all(
    ground: &Ground<'_, '_>,
    ladders: &BTreeMap<Arc<str>, Ladder>,
    budgets: &[Budget],
    problems: &mut Problems,
) -> Vec<Exception> {
    let desk = Desk { ground, ladders, budgets };
    let mut active: Vec<(Exception, Place)> = Vec::new();
    let mut of_tenant: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
    for node in &ground.document.exceptions {
        let Some(exception) = desk.exception(node, problems) else { continue };
        let others = of_tenant.entry(Arc::clone(&exception.tenant)).or_default();
        let twin = others.iter().map(|other| &active[*other]).find(|(other, _)| overlap(other, &exception));
        if let Some((_, first)) = twin {
            let message = format!("two active exceptions for `{}` concern one budget", exception.tenant);
            let fault = Diagnostic::error("E165", message).at(&node.place, "").see(first, "the other one");
            problems.push(fault.help("put both into one exception, or delete one"));
        }
        others.push(active.len());
        active.push((exception, node.place.clone()));
    }
    let mut exceptions: Vec<Exception> = active.into_iter().map(|(exception, _)| exception).collect();
    exceptions.sort_by(|one, other| (&one.tenant, one.budget).cmp(&(&other.tenant, other.budget)));
    exceptions
}

fn overlap(one: &Exception, other: &Exception) -> bool {
    let same_budget = one.budget.is_none() || other.budget.is_none() || one.budget == other.budget;
    one.tenant == other.tenant && same_budget
}

/// What exceptions refer to.
struct Desk<'g, 't, 's> {
    ground: &'g Ground<'t, 's>,
    ladders: &'g BTreeMap<Arc<str>, Ladder>,
    budgets: &'g [Budget],
}

impl Desk<'_, '_, '_> {
    fn exception(&self, node: &Node, problems: &mut Problems) -> Option<Exception> {
        let mut fields = Fields::of(node, "an exception", problems)?;
        let tenant = fields.required("tenantId", "acme-corp", problems);
        let tenant = tenant.and_then(|node| tenant_id(node, problems));
        let budget =
            fields.value("budget").map(|node| reference("budget", node, &self.ground.document.budgets, problems));
        let limit_node = fields.value("limit");
        let limit = limit_node
            .and_then(|node| rules::own_limit(node, &self.ground.exchange, problems).map(|limit| (node, limit)));
        let escalations = &self.ground.document.escalations;
        let escalation =
            fields.value("escalation").map(|node| (node, reference("escalation", node, escalations, problems)));
        let never = fields.value("never").map(|node| rules::never(node, problems)).unwrap_or_default();
        let who = tenant.as_deref().unwrap_or("?").to_owned();
        let reason = approval(&mut fields, "reason", "what was agreed", &who, problems);
        let approved_by = approval(&mut fields, "approved_by", "name@example.com", &who, problems);
        let ticket = fields.value("ticket").and_then(|node| text(node, "`ticket`", problems));
        let expires = approval(&mut fields, "expires", "2027-01-31", &who, problems);
        let when_expired = fields.value("when_expired").and_then(|node| self.when_expired(node, problems));
        fields.finish("not an exception key", problems);
        if budget.is_none() {
            for node in [limit_node, escalation.as_ref().map(|(node, _)| *node)].into_iter().flatten() {
                let fault = Diagnostic::error("E105", "an exception with a limit or an escalation needs `budget`");
                problems.push(fault.at(&node.place, "of which budget?").help("add `budget: tenant_month`"));
            }
        }
        let budget = match budget {
            Some(name) => Some(self.index(name?)?),
            None => None,
        };
        let limit = limit.and_then(|(node, limit)| self.limit(budget?, node, limit, problems));
        let reason = reason.and_then(|node| text(node, "`reason`", problems));
        let approved_by = approved_by.and_then(|node| names(node, problems));
        let expires_at = expires?;
        let expires = value(expires_at, "`expires`", amount::date, problems)?;
        let until = self.end_of_day(expires);
        if until <= self.ground.surroundings.now {
            problems.push(self.expired(&who, expires, (expires_at, node)));
            return None;
        }
        let ladder = escalation.and_then(|(_, name)| self.ladders.get(name?));
        let ladder = ladder.zip(budget.and_then(|budget| self.budgets.get(budget)));
        let ladder = ladder.map(|(ladder, budget)| ladder.of_budget(&format!("{}.{}", budget.name, ladder.name), None));
        let (tenant, reason, approved_by) = (tenant?, reason?, approved_by?);
        let exception = Exception {
            tenant,
            budget,
            limit,
            ladder,
            never,
            reason,
            approved_by,
            ticket,
            expires,
            until,
            when_expired,
            written: Written::from(&node.place),
        };
        problems.extend(self.soon(&exception, expires_at));
        Some(exception)
    }

    fn when_expired(&self, node: &Node, problems: &mut Problems) -> Option<WhenExpired> {
        let mut fields = Fields::of(node, "`when_expired`", problems)?;
        let notify = fields.required("notify", "[account_owner]", problems);
        let notify = notify.map(|node| ladders::targets(node, self.ground, problems));
        let before = fields.value("before").and_then(|node| value(node, "`before`", amount::duration, problems));
        fields.finish("not a key of when_expired", problems);
        Some(WhenExpired { notify: notify?, before })
    }

    /// `W166` for an exception whose end comes within its own `before`.
    fn soon(&self, exception: &Exception, date: &Node) -> Option<Diagnostic> {
        let rule = exception.when_expired.as_ref()?;
        let now = self.ground.surroundings.now;
        if !exception.ends_soon(rule, now) {
            return None;
        }
        let days = days_between(now.to_jiff().to_zoned_datetime(self.ground.zone.clone()).date(), exception.expires);
        let when = if days == "0 days" { "today".to_owned() } else { format!("in {days}") };
        let fault = Diagnostic::warning("W166", format!("this exception ends {when}")).at(&date.place, "");
        let after = format!("note: after it {} is measured against its normal rules", exception.tenant);
        Some(fault.note(after).help("extend it with a new approval, or let it end"))
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.budgets.binary_search_by(|budget| (*budget.name).cmp(name)).ok()
    }

    /// A limit must count what its budget counts.
    fn limit(
        &self,
        budget: usize,
        node: &Node,
        (amount, unit, per): (Amount, crate::domain::standing::Unit, Span),
        problems: &mut Problems,
    ) -> Option<Amount> {
        let budget = self.budgets.get(budget)?;
        if (budget.unit, budget.span) == (unit, per) {
            return Some(amount);
        }
        let message = format!("budget `{}` counts in another unit or period", budget.name);
        let fault =
            Diagnostic::error("E164", message).at(&node.place, format!("the budget's limit is per {}", budget.span));
        problems.push(fault.help("use the unit and period of the budget's own limit"));
        None
    }

    /// The first moment of the day after.
    fn end_of_day(&self, date: Date) -> Timestamp {
        let next = date.checked_add(1.day()).ok();
        let midnight = next.and_then(|next| next.to_zoned_datetime(self.ground.zone.clone()).ok());
        let midnight = midnight.and_then(|midnight| midnight.start_of_day().ok());
        midnight.map_or(Timestamp::from_micros(i64::MAX), |midnight| Timestamp::from_jiff(midnight.timestamp()))
    }

    fn expired(&self, tenant: &str, expires: Date, (date, node): (&Node, &Node)) -> Diagnostic {
        let now = self.ground.surroundings.now.to_jiff().to_zoned_datetime(self.ground.zone.clone());
        let days = days_between(expires, now.date());
        let message = format!("this exception expired {days} ago and no longer applies");
        Diagnostic::warning("W163", message)
            .at(&date.place, "")
            .note(format!("note: {tenant} is measured against its normal limit again"))
            .help(format!("extend it with a new approval, or delete lines {}-{}", node.place.line, node.end_line))
    }
}

fn tenant_id(node: &Node, problems: &mut Problems) -> Option<Arc<str>> {
    let name = text(node, "`tenantId`", problems)?;
    if is_valid_id(&name) {
        return Some(name);
    }
    problems.push(Diagnostic::error("E115", format!("`{name}` is not an identifier")).at(&node.place, ""));
    None
}

/// A key without which nobody may make an exception.
fn approval<'t>(
    fields: &mut Fields<'t>,
    name: &'static str,
    example: &str,
    tenant: &str,
    problems: &mut Problems,
) -> Option<&'t Node> {
    let found = fields.value(name);
    if found.is_none() {
        let fault = Diagnostic::error("E162", format!("exception for `{tenant}` has no `{name}`"));
        let fault = fault.at(fields.place(), "every exception needs reason, approved_by and expires");
        problems.push(fault.help(format!("add `{name}: {example}`")));
    }
    found
}

fn names(node: &Node, problems: &mut Problems) -> Option<Vec<Arc<str>>> {
    let items = expect_list(node, "`approved_by`", problems)?;
    if items.is_empty() {
        let fault = Diagnostic::error("E162", "`approved_by` names nobody").at(&node.place, "");
        problems.push(fault.help("write `approved_by: name@example.com`"));
    }
    Some(items.into_iter().filter_map(|item| text(item, "`approved_by`", problems)).collect())
}

fn days_between(from: Date, to: Date) -> String {
    let days = from.until((CalendarUnit::Day, to)).map_or(0, |span| span.get_days());
    format!("{days} day{}", if days == 1 { "" } else { "s" })
}
