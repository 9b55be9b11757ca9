//! Tells people when the ledger cannot be written, and when it can again: whom `defaults.on_ledger_unavailable` names, and the
//! log in any case.

use crate::alert::notification::{Facts, Kind, Notification};
use crate::alert::target::LOG;
use crate::gateway::Gateway;
use crate::policy::ladder::NotifyTarget;

/// Remembers whether the ledger could be written when it was last looked at.
pub(super) struct LedgerWatch {
    healthy: bool,
}

impl LedgerWatch {
    /// A gateway starts with a ledger that could be opened.
    pub(super) fn new() -> Self {
        Self { healthy: true }
    }

    /// Looks again, and tells of a change.
    pub(super) fn look(&mut self, gateway: &Gateway) {
        let healthy = gateway.ledger.healthy();
        if std::mem::replace(&mut self.healthy, healthy) == healthy {
            return;
        }
        let snapshot = gateway.control.load();
        let rule = &snapshot.policy.defaults.on_ledger_unavailable;
        let (kind, message) = if healthy {
            (Kind::LedgerRecovered, "the ledger can be written again".to_owned())
        } else {
            let others =
                if rule.refuses { "so are all others" } else { "others pass, and their rows wait in the spool" };
            let message = format!("the ledger cannot be written: calls that hard budgets count are refused; {others}");
            (Kind::LedgerUnavailable, message)
        };
        let facts = Facts { message: Some(message), ..Facts::default() };
        let mut to: Vec<&str> = rule.alert.iter().map(NotifyTarget::as_str).collect();
        to.push(LOG);
        gateway.courier.send(Notification { kind, timestamp: gateway.clock.now(), facts }, &to);
    }
}
