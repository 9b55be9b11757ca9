//! Plimsoll: a gateway in front of LLM providers that knows what each tenant costs, and acts on it.

// Floor 0: words.
pub mod diagnostic;
pub mod domain;
pub mod telemetry;
// Floor 1: thought. Pure and synchronous.
pub mod directory;
pub mod meter;
pub mod policy;
pub mod wire;
// Floor 2: memory and voice.
pub mod alert;
pub mod control;
pub mod ledger;
pub mod sim;
// Floor 3: hands.
pub mod admin;
pub mod gateway;
// Floor 4: plan.
pub mod config;
// Floor 5: assembly.
pub mod node;
// Floor 6: door.
pub mod cli;
