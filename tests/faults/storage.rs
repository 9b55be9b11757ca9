//! Crash and storage (rows D).
