//! A notification as people read it, in Slack and in the log.

use std::fmt::Write as _;

use super::notification::{Amount, BudgetFacts, Kind, Notification};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Notification {
    /// A few lines: what, how much, what follows, whom to ask. No markup.
    pub fn text(&self) -> String {
        let mut text = format!("{} {}", mark(self.kind), self.headline());
        if self.facts.transition.as_ref().is_some_and(|transition| &*transition.mode == "dry_run") {
            text.push_str(" (dry run: nothing is enforced)");
        }
        for next in &self.facts.next {
            line(&mut text, format_args!("At {}: {}", next.at, next.action));
        }
        if let Some(decision) = &self.facts.decision {
            line(&mut text, format_args!("If nobody answers: {}", decision.otherwise));
        }
        if let Some(upgrade) = &self.facts.links.upgrade {
            line(&mut text, format_args!("Upgrade: {upgrade}"));
        }
        let owner = self.account_owner().map(|owner| format!("Owner: {owner}"));
        let details = self.facts.links.tenant.as_ref().map(|page| format!("Details: {page}"));
        let last: Vec<String> = owner.into_iter().chain(details).collect();
        if !last.is_empty() {
            line(&mut text, format_args!("{}", last.join("   ")));
        }
        text
    }

    fn headline(&self) -> String {
        let facts = &self.facts;
        let who = facts.tenant.as_ref().map(|tenant| tenant.id.to_string());
        let Some(budget) = &facts.budget else {
            let message = facts.message.clone().unwrap_or_else(|| self.name());
            return who.map_or_else(|| message.clone(), |who| format!("{who}: {message}"));
        };
        let who = who.unwrap_or_else(|| "all tenants together".to_owned());
        let its = if facts.tenant.is_some() { "its" } else { "their" };
        let (percent, limit) = (budget.used.percent.whole(), readable(&budget.limit));
        let of = format!("{percent}% of {its} {} ({} of {limit})", budget_name(budget), used(budget));
        let forecast = budget.forecast.as_ref().map_or_else(String::new, |end| format!(" · forecast {}%", end.percent));
        let step = facts.transition.as_ref().map_or("", |transition| &transition.step);
        let until = facts.decision.as_ref().map_or("soon", |decision| &decision.until);
        match self.kind {
            Kind::DecisionRequested => format!("Decision needed by {until}: {who} is at {of}"),
            Kind::DecisionMade => format!("Decided: {who} is at {of}"),
            Kind::DecisionDefaulted => format!("Nobody decided in time: {who} is at {of}"),
            Kind::BudgetRecovered => format!("{who} is back at {of}"),
            Kind::StepLeft => format!("{who} left `{step}`: {of}"),
            Kind::StepEntered => format!("{who} entered `{step}`: {of}{forecast}"),
            _ => format!("{who} reached {of}{forecast}"),
        }
    }

    /// The word of the kind: `budget.warning`.
    pub fn name(&self) -> String {
        serde_json::to_value(self.kind).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\n{content}");
}

fn mark(kind: Kind) -> char {
    match kind {
        Kind::BudgetExceeded
        | Kind::DecisionRequested
        | Kind::DecisionDefaulted
        | Kind::PolicyRejected
        | Kind::LedgerUnavailable => '✕',
        Kind::BudgetRecovered
        | Kind::StepLeft
        | Kind::DecisionMade
        | Kind::PolicyReloaded
        | Kind::ReviewReady
        | Kind::LedgerRecovered => '✓',
        _ => '◆',
    }
}

/// `November budget` for a month, else `budget digest_quota for 2026-11-21`.
fn budget_name(budget: &BudgetFacts) -> String {
    let month = match budget.period.split_once('-') {
        Some((_, month)) if month.len() == 2 => month.parse::<usize>().ok(),
        _ => None,
    };
    match month.and_then(|month| MONTHS.get(month.checked_sub(1)?)) {
        Some(month) => format!("{month} budget"),
        None => format!("budget {} for {}", budget.name, budget.period),
    }
}

fn used(budget: &BudgetFacts) -> String {
    readable(&Amount { amount: budget.used.amount.clone(), currency: budget.limit.currency, unit: None })
}

/// `$150`, `$120.40`, `2000000 tokens`.
fn readable(amount: &Amount) -> String {
    let plain = amount.amount.strip_suffix(".00").unwrap_or(&amount.amount);
    match (amount.currency, amount.unit) {
        (Some(_), _) => format!("${plain}"),
        (None, Some(unit)) => format!("{plain} {unit}"),
        (None, None) => plain.to_owned(),
    }
}

/// Slack's text format gives `&`, `<` and `>` a meaning; names out of files must not ping a channel.
pub(super) fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alert::notification::tests::warning;
    use crate::alert::notification::{Facts, Question};

    #[test]
    fn people_read_what_how_much_and_what_follows() {
        insta::assert_snapshot!(warning().text(), @r"
        ◆ globex reached 80% of its November budget ($120.40 of $150) · forecast 142%
        At 100%: cap 600 output tokens; 20 requests/min on non_critical
        At 110%: gpt-4o → gpt-4o-mini on non_critical
        Upgrade: https://app.example.com/upgrade
        Owner: dana@example.com   Details: https://plimsoll.example.com/tenants/globex
        ");
    }

    #[test]
    fn a_decision_names_its_deadline_and_default() {
        let mut notification = warning();
        notification.kind = Kind::DecisionRequested;
        notification.facts.next.clear();
        notification.facts.decision = Some(Question {
            ask: Arc::from("account_owner"),
            until: "2026-11-29T04:10:00+01:00".to_owned(),
            otherwise: "non-critical endpoints stop".to_owned(),
        });
        insta::assert_snapshot!(notification.text(), @r"
        ✕ Decision needed by 2026-11-29T04:10:00+01:00: globex is at 80% of its November budget ($120.40 of $150)
        If nobody answers: non-critical endpoints stop
        Upgrade: https://app.example.com/upgrade
        Owner: dana@example.com   Details: https://plimsoll.example.com/tenants/globex
        ");
    }

    #[test]
    fn other_windows_and_units_are_named() {
        use crate::alert::notification::Used;
        use crate::domain::standing::Unit;
        let mut notification = warning();
        notification.facts.tenant = None;
        notification.facts.links.tenant = None;
        notification.facts.next.clear();
        let budget = notification.facts.budget.as_mut().unwrap();
        budget.limit = Amount::of(Unit::Tokens, 2_000_000);
        budget.used = Used::of(Unit::Tokens, 1_700_000, 2_000_000);
        budget.period = "2026-11-21".to_owned();
        notification.facts.transition.as_mut().unwrap().mode = Arc::from("dry_run");
        insta::assert_snapshot!(notification.text(), @r"
        ◆ all tenants together reached 85% of their budget tenant_month for 2026-11-21 (1700000 of 2000000 tokens) · forecast 142% (dry run: nothing is enforced)
        Upgrade: https://app.example.com/upgrade
        ");
    }

    #[test]
    fn what_has_no_budget_says_its_sentence() {
        let mut notification = warning();
        notification.kind = Kind::UnpricedModel;
        notification.facts = Facts { message: Some("`x-1` has no price".to_owned()), ..Facts::default() };
        assert_eq!(notification.text(), "◆ `x-1` has no price");
        notification.facts.message = None;
        assert_eq!(notification.text(), "◆ data.unpriced_model");
    }

    #[test]
    fn a_name_cannot_ping_a_channel() {
        assert_eq!(escaped_for_slack("<!channel> & co"), "&lt;!channel&gt; &amp; co");
    }
}
