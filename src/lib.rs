//! Plimsoll: a gateway in front of LLM providers that knows what each tenant costs, and acts on it.
//!
//! A request comes in at [`gateway::listen`], on the core that it stays on. Its path names a provider, its key a tenant, its
//! headers the feature that calls. The body is read whole, and the dialect ([`wire`]) peeks at the few fields that a policy
//! needs. The budgets that count the call say where they stand ([`meter`]); one pure function ([`policy::evaluate`]) turns that
//! into a decision; what the call may cost at most is held with one compare-and-swap per hard budget. The decision is spliced
//! into the body, and the request leaves over a connection of this core.
//!
//! The answer passes as it comes. Beside it, usage is read; at its end usage becomes money ([`domain::price`]), the money
//! replaces the hold, and one row goes into the queue of the [`ledger`], whose place was taken before the request left. Nobody
//! waits for that row. Steps that a budget reaches are told by [`alert`].
//!
//! Beside all this, [`control`] watches the policies' folder and swaps one immutable snapshot; a call keeps the one that it
//! began with. [`admin`] is the operator's window, [`config`] reads the boot file, [`node`] puts the parts together, and
//! [`cli`] is the door.

// Floor 0: words.
pub mod allocator;
pub mod diagnostic;
pub mod domain;
pub mod telemetry;
// Floor 1: thought. Pure and synchronous.
pub mod directory;
pub mod invoice;
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
