//! The policy.

pub mod decision;
