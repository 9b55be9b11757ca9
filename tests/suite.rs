//! One integration-test binary; each module is one concern.

mod architecture;
#[cfg(test)]
mod corpus_wire;
#[cfg(test)]
mod policies;
