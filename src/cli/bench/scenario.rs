//! What is measured: the bodies, the headers that every target gets alike, and how many connections carry them.

use std::net::SocketAddr;
use std::sync::Arc;

use super::child::KEY;
use super::load::Order;

/// One way to load the targets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    /// The word for `--only`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    body: usize,
    pub(super) streamed: bool,
}

/// Everything that can be measured, in the order in which it is.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "chat-2k", title: "chat, 2 kB", body: 2_000, streamed: false },
    Scenario { name: "chat-100k", title: "chat, 100 kB", body: 100_000, streamed: false },
    Scenario { name: "sse-burst", title: "SSE, 64 events in a burst", body: 2_000, streamed: true },
];

const SENTENCE: &str = "All work and no play makes a dull gateway. ";

impl Scenario {
    /// The request as bytes: all targets get the same, but for the path.
    pub(super) fn order(&self, address: SocketAddr, path: &str) -> Order {
        let text = SENTENCE.repeat(self.body / SENTENCE.len() + 1);
        let body = format!(
            r#"{{"model":"gpt-4o-mini","stream":{},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            self.streamed,
            text.get(..self.body).unwrap_or(&text)
        );
        // A budget with `block: all` counts `digest.*`: calls are held against an exact ceiling.
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             plimsoll-tenant-id: globex\r\nplimsoll-endpoint-tag: digest.daily\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Order { address, bytes: Arc::from(request.into_bytes()), streamed: self.streamed, tenants: None }
    }
}
