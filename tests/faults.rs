//! Faults, row by row: what hostile input, broken providers, races and crashes may do to the accounts. The names of the
//! tests begin with their row in the fault matrix (B: providers and streams, C: budgets and concurrency, D: crash and
//! storage), and each says which change of the source makes it fail.

mod budgets;
pub(crate) mod storage;
mod upstream;
