//! The ledger.

pub mod entry;
