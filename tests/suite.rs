//! One integration-test binary; each module is one concern.

mod admin;
mod architecture;
mod ledger_crash;
