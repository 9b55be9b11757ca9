//! Tells people that an exception ends, where it asks for that: once when the time before its end begins, once when it has
//! ended. What was told is remembered for this run of the gateway; a start tells again of what ends soon.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::alert::notification::{Facts, Kind, Notification, TenantFacts};
use crate::alert::target::LOG;
use crate::control::Snapshot;
use crate::domain::clock::Timestamp;
use crate::domain::tenant::{Tenant, TenantId};
use crate::gateway::Gateway;
use crate::policy::exception::{Exception, WhenExpired};
use crate::policy::ladder::NotifyTarget;

/// What was told so far.
#[derive(Default)]
pub(super) struct ExpiryWatch {
    told: BTreeSet<(Arc<str>, Option<usize>, Timestamp, Kind)>,
}

impl ExpiryWatch {
    /// Looks at every exception of the running policy, and tells what is new.
    pub(super) fn look(&mut self, gateway: &Gateway) {
        let (snapshot, now) = (gateway.control.load(), gateway.clock.now());
        for exception in &snapshot.policy.exceptions {
            let Some(rule) = &exception.when_expired else { continue };
            let Some(kind) = due(exception, rule, now) else { continue };
            let what = (Arc::clone(&exception.tenant), exception.budget, exception.until, kind);
            if self.told.insert(what) {
                let mut to: Vec<&str> = rule.notify.iter().map(NotifyTarget::as_str).collect();
                to.push(LOG);
                gateway.courier.send(notification(&snapshot, exception, kind, now), &to);
            }
        }
    }
}

fn due(exception: &Exception, rule: &WhenExpired, now: Timestamp) -> Option<Kind> {
    if now >= exception.until {
        return Some(Kind::ExceptionExpired);
    }
    exception.ends_soon(rule, now).then_some(Kind::ExceptionExpiring)
}

fn notification(snapshot: &Snapshot, exception: &Exception, kind: Kind, now: Timestamp) -> Notification {
    let known = snapshot.directory.tenant(&exception.tenant);
    let tenant = known.or_else(|| TenantId::new(&exception.tenant).ok().map(Tenant::unknown));
    let budget = exception.budget.and_then(|at| snapshot.policy.budgets.get(at));
    let whose = budget.map_or_else(|| "of all budgets".to_owned(), |budget| format!("of budget `{}`", budget.name));
    let (approved, expires, reason) = (exception.approved_by.join(", "), exception.expires, &exception.reason);
    let message = if kind == Kind::ExceptionExpired {
        format!(
            "its exception {whose} ended on {expires}; the normal rules apply again ({reason}; approved by {approved})"
        )
    } else {
        format!(
            "its exception {whose} ends on {expires}; after that the normal rules apply ({reason}; approved by {approved})"
        )
    };
    let tenant = tenant.map(|tenant| TenantFacts::from(&tenant));
    Notification { kind, timestamp: now, facts: Facts { tenant, message: Some(message), ..Facts::default() } }
}
