//! The meter's cell and lease, compiled from the product's own files with the atomics of a model checker, and a call's
//! bookkeeping around them as the product does it.
//!
//! It refuses to model anything else: no store, no clock, no policy.

#[path = "../../src/meter/atomic.rs"]
mod atomic;
#[path = "../../src/meter/cell.rs"]
pub mod cell;
#[path = "../../src/meter/lease.rs"]
pub mod lease;

pub mod call;
