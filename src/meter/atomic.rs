//! The atomics of the cell and the lease: the standard library's, and a model checker's where one explores them.
//!
//! `plimsoll_loom` and `plimsoll_shuttle` are set only by the crate in `models/`, which compiles `cell.rs` and `lease.rs` alone.

#[cfg(plimsoll_loom)]
pub(super) use loom::sync::atomic::{AtomicI64, Ordering};
#[cfg(plimsoll_shuttle)]
pub(super) use shuttle::sync::atomic::{AtomicI64, Ordering};
#[cfg(not(any(plimsoll_loom, plimsoll_shuttle)))]
pub(super) use std::sync::atomic::{AtomicI64, Ordering};
