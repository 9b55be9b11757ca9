//! What a policy holds, in one line.

use jiff::Unit;
use serde_json::{Value, json};

use crate::cli::text::many;
use crate::diagnostic::{Diagnostic, Severity};
use crate::directory::Directory;
use crate::domain::clock::Timestamp;
use crate::policy::advice::Text;
use crate::policy::{Policy, coverage};

/// The counts of a valid policy.
pub(super) struct Summary {
    budgets: usize,
    escalations: usize,
    exceptions: usize,
    /// In how many days the first exception expires.
    expires_in: Option<i32>,
    tenants: usize,
    /// The tenants whose spend some budget limits.
    covered: usize,
}

impl Summary {
    pub(super) fn of(policy: &Policy, text: &Text, directory: &Directory, now: Timestamp) -> Self {
        let today = now.to_jiff().to_zoned_datetime(policy.zone.clone()).date();
        let days = policy
            .exceptions
            .iter()
            .filter_map(|exception| today.until((Unit::Day, exception.expires)).ok().map(|span| span.get_days()));
        Self {
            budgets: policy.budgets.len(),
            escalations: text.count("escalations"),
            exceptions: policy.exceptions.len(),
            expires_in: days.min(),
            tenants: directory.len(),
            covered: directory.iter().filter(|tenant| coverage::covers(policy, tenant, now)).count(),
        }
    }

    /// `5 budgets, 4 escalations, 1 exception (expires in 67 days), 341 tenants covered, 0 warnings`.
    pub(super) fn line(&self, warnings: usize) -> String {
        let expiry = match (self.exceptions, self.expires_in) {
            (1, Some(days)) => format!(" (expires {})", in_days(days)),
            (2.., Some(days)) => format!(" (the first expires {})", in_days(days)),
            _ => String::new(),
        };
        let tenants = if self.covered == self.tenants {
            format!("{} covered", many(self.tenants, "tenant"))
        } else {
            format!("{} of {} covered", self.covered, many(self.tenants, "tenant"))
        };
        format!(
            "{}, {}, {}{expiry}, {tenants}, {}",
            many(self.budgets, "budget"),
            many(self.escalations, "escalation"),
            many(self.exceptions, "exception"),
            many(warnings, "warning"),
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "budgets": self.budgets,
            "escalations": self.escalations,
            "exceptions": self.exceptions,
            "tenants": self.tenants,
            "covered": self.covered,
        })
    }
}

fn in_days(days: i32) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        days => format!("in {days} days"),
    }
}

pub(super) fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics.iter().filter(|one| one.severity == severity).count()
}

/// `policy.yaml: 2 errors, 1 warning; …`.
pub(super) fn failure(name: &str, diagnostics: &[Diagnostic]) -> String {
    let errors = many(count(diagnostics, Severity::Error), "error");
    let warnings = match count(diagnostics, Severity::Warning) {
        0 => String::new(),
        number => format!(", {}", many(number, "warning")),
    };
    let first = diagnostics.iter().find(|one| one.is_error()).map_or("E104", |one| one.code);
    format!("{name}: {errors}{warnings}; `plimsoll explain {first}` says more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_policy_is_one_line() {
        let summary =
            Summary { budgets: 5, escalations: 4, exceptions: 1, expires_in: Some(67), tenants: 341, covered: 341 };
        assert_eq!(
            summary.line(0),
            "5 budgets, 4 escalations, 1 exception (expires in 67 days), 341 tenants covered, 0 warnings"
        );
        let other = Summary { budgets: 1, escalations: 0, exceptions: 2, expires_in: Some(0), tenants: 3, covered: 2 };
        assert_eq!(
            other.line(1),
            "1 budget, 0 escalations, 2 exceptions (the first expires today), 2 of 3 tenants covered, 1 warning"
        );
    }
}
