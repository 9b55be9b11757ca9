//! Control over a folder and an empty past.

use std::fs;

use crate::domain::clock::ManualClock;

use super::*;

/// Control over a folder, with nothing in the ledger.
pub(crate) fn over(folder: &Path) -> Control {
    let around = Surroundings {
        folder: folder.to_owned(),
        prices: Arc::new(PriceBook::builtin()),
        notify_targets: Vec::new(),
        meter: Arc::new(Meter::default()),
        clock: Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_000_000))),
        history: History::none(),
    };
    Control::start(around).expect("a policy in force")
}

/// Writes a policy with one budget.
pub(crate) fn write(folder: &Path, limit: &str) {
    let text = format!(
        "version: 1\nmode: enforce\nbudgets: {{ month: {{ per: [tenantId], limit: {limit}, escalation: e }} }}\n\
         escalations: {{ e: {{ contain: {{ at: 100%, block: all }} }} }}\n"
    );
    fs::write(folder.join("policy.yaml"), text).expect("a policy");
}

// Mutations: `put_in_force` drops the snapshot before; `free_unheld` frees whatever there is, or nothing.
#[test]
fn the_snapshot_of_a_call_is_freed_by_who_reloads_and_never_by_the_call() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    let control = over(folder.path());
    let call = control.load();
    let watched = Arc::downgrade(&call);
    write(folder.path(), "$2/month");
    assert!(control.reload().is_some_and(|outcome| outcome.is_ok()));
    assert!(control.reload().is_none());
    assert_eq!(call.number, 1, "the call holds it");
    std::thread::spawn(move || drop(call)).join().expect("a call that ends");
    assert_eq!(watched.strong_count(), 1, "the call's end did not free it");
    assert!(control.reload().is_none());
    assert_eq!(watched.strong_count(), 0, "the next look did");
    assert_eq!(control.load().number, 2);
}
