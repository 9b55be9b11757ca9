//! Crash and storage (rows D): a disk that fails or fills, a store that is slow, a reader that stays, a second process, a
//! migration that is killed. Kills under load are in `tests/kill.rs`, the spool's broken tails beside its source.

mod disk;
pub(crate) mod files;
mod slow;
