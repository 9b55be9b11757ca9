//! One integration-test binary; each module is one concern.

#[cfg(test)]
mod admin;
mod architecture;
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
mod kill;
#[cfg(test)]
mod ladder;
#[cfg(test)]
mod ledger_crash;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod prices;
mod process;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod simulation;
