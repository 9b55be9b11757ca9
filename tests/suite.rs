//! One integration-test binary; each module is one concern.

#![expect(clippy::disallowed_methods, reason = "how long a test runs is no setting of the gateway")]

#[cfg(test)]
mod admin;
mod architecture;
#[cfg(test)]
mod check;
#[cfg(test)]
mod corpus_gateway;
#[cfg(test)]
mod corpus_wire;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http1;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod ladder;
#[cfg(test)]
mod ledger_crash;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod prices;
#[cfg(test)]
mod process;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tools;
