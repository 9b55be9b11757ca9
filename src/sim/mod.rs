//! The scripted provider: a real HTTP server on a loopback socket that speaks the OpenAI, Anthropic and Gemini dialects.
//!
//! It keeps its own bill and every byte that reached it, so that what a gateway says can be held against what a provider
//! saw. Given the same script and the same requests in the same order it answers the same bytes. It is used by `demo`,
//! `bench` and the tests; it refuses to listen anywhere but on loopback.

mod answer;
mod anthropic;
mod ask;
mod bill;
mod body;
mod canned;
mod fast;
mod gemini;
mod openai;
mod provider;
mod reply;
mod responses;
mod route;
mod script;
mod speak;
mod wire;

#[cfg(test)]
mod tests;

pub use bill::{BillLine, Seen, Totals};
pub use canned::{Canned, End, Framing};
pub use fast::fixed_chat;
pub use provider::Provider;
pub use script::{Fault, Script};
