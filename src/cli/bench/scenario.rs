//! What is measured: who is loaded with what, and in which way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::child::{KEY, Setup};
use super::large;
use super::load::Order;

/// One comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    /// The word for `--only`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) body: usize,
    pub(super) work: Work,
    /// Who is compared. The first gateway, or nginx where it is named, is the mark.
    pub(super) targets: &'static [Subject],
}

/// How the targets are loaded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Call upon call on every connection, then calls at a fixed rate.
    Calls { streamed: bool },
    /// So many streams at once, each with an event every so often.
    Streams { count: usize, gap: Duration },
}

/// Somebody who answers calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// So many tenants take turns; 0: one tenant makes every call.
    pub(super) tenants: u64,
    /// How often its policy is replaced while there is load.
    pub(super) replaced: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Direct,
    Nginx,
    Gateway(Setup),
}

const DIRECT: Subject = Subject { name: "direct", kind: Kind::Direct, tenants: 0, replaced: None };
const NGINX: Subject = Subject { name: "nginx", kind: Kind::Nginx, tenants: 0, replaced: None };
const PLIMSOLL: Subject = gateway("plimsoll", Setup::Realistic, 0);
const AT_REST: Subject = gateway("at rest", Setup::Realistic, 0);
const LARGE: Subject = gateway("at rest", Setup::Large, large::TENANTS);
const BESIDE_NGINX: &[Subject] = &[DIRECT, NGINX, PLIMSOLL];

const fn gateway(name: &'static str, setup: Setup, tenants: u64) -> Subject {
    Subject { name, kind: Kind::Gateway(setup), tenants, replaced: None }
}

/// The same gateway, whose policy is replaced again and again.
const fn reloading(every: Duration, subject: Subject) -> Subject {
    Subject { name: "reloading", replaced: Some(every), ..subject }
}

const CALLS: Work = Work::Calls { streamed: false };

/// Everything that can be measured, in the order in which it is.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "chat-2k", title: "chat, 2 kB", body: 2_000, work: CALLS, targets: BESIDE_NGINX },
    Scenario { name: "chat-100k", title: "chat, 100 kB", body: 100_000, work: CALLS, targets: BESIDE_NGINX },
    Scenario {
        name: "sse-burst",
        title: "SSE, 64 events in a burst",
        body: 2_000,
        work: Work::Calls { streamed: true },
        targets: BESIDE_NGINX,
    },
    Scenario {
        name: "sse-paced",
        title: "SSE, 512 streams, an event every 20 ms",
        body: 2_000,
        work: Work::Streams { count: 512, gap: Duration::from_millis(20) },
        targets: BESIDE_NGINX,
    },
    Scenario {
        name: "streams-1k",
        title: "1 000 slow streams, an event every second",
        body: 2_000,
        work: Work::Streams { count: 1_000, gap: Duration::from_secs(1) },
        targets: BESIDE_NGINX,
    },
    Scenario {
        name: "streams-10k",
        title: "10 000 slow streams, an event every second",
        body: 2_000,
        work: Work::Streams { count: 10_000, gap: Duration::from_secs(1) },
        targets: BESIDE_NGINX,
    },
    Scenario {
        name: "hot-tenant",
        title: "one hot tenant on all cores, beside 1 000 tenants",
        body: 2_000,
        work: CALLS,
        targets: &[
            gateway("1 000 tenants", Setup::Tenants(1_000), 1_000),
            gateway("one tenant", Setup::Tenants(1_000), 1),
        ],
    },
    Scenario {
        name: "tenants-100k",
        title: "100 000 tenants, beside 1 000",
        body: 2_000,
        work: CALLS,
        targets: &[
            gateway("1 000 tenants", Setup::Tenants(1_000), 1_000),
            gateway("100 000", Setup::Tenants(100_000), 100_000),
        ],
    },
    Scenario {
        name: "reload",
        title: "the policy replaced ten times a second",
        body: 2_000,
        work: CALLS,
        targets: &[AT_REST, reloading(Duration::from_millis(100), AT_REST)],
    },
    Scenario {
        name: "reload-100k",
        title: "500 budgets and 100 000 tenants, all replaced once a second",
        body: 2_000,
        work: CALLS,
        targets: &[LARGE, reloading(Duration::from_secs(1), LARGE)],
    },
    Scenario {
        name: "metering",
        title: "metering and policy off and on",
        body: 2_000,
        work: CALLS,
        targets: &[
            gateway("passed on", Setup::PassedOn, 0),
            gateway("metered", Setup::NoBudgets, 0),
            gateway("plimsoll", Setup::Realistic, 0),
        ],
    },
];

const SENTENCE: &str = "All work and no play makes a dull gateway. ";
const TENANT_HEADER: &str = "plimsoll-tenant-id: ";

impl Scenario {
    /// The request as bytes: all targets get the same, but for the path and the tenant.
    pub(super) fn order(&self, subject: &Subject, address: SocketAddr) -> Order {
        let text = SENTENCE.repeat(self.body / SENTENCE.len() + 1);
        let streamed = !matches!(self.work, Work::Calls { streamed: false });
        let body = format!(
            r#"{{"model":"gpt-4o-mini","stream":{streamed},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            text.get(..self.body).unwrap_or(&text)
        );
        let path = match subject.kind {
            Kind::Gateway(Setup::PassedOn) => "/openai/v1/not-metered",
            Kind::Gateway(_) => "/openai/v1/chat/completions",
            _ => "/v1/chat/completions",
        };
        let tenant = if subject.tenants == 0 { "globex".to_owned() } else { tenant(0) };
        // A budget with `block: all` counts `digest.*`: calls are held against an exact ceiling.
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             {TENANT_HEADER}{tenant}\r\nplimsoll-endpoint-tag: digest.daily\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let digits = request.find(TENANT_HEADER).map(|at| at + TENANT_HEADER.len() + TENANT.len());
        let tenants = digits.filter(|_| subject.tenants > 1).map(|at| (at, subject.tenants));
        Order { address, bytes: Arc::from(request.into_bytes()), streamed, tenants }
    }
}

const TENANT: &str = "tenant-";

/// The name of a numbered tenant.
pub(super) fn tenant(number: u64) -> String {
    format!("{TENANT}{number:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_take_turns_where_their_number_stands() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for scenario in SCENARIOS {
            for subject in scenario.targets {
                let order = scenario.order(subject, address);
                assert_eq!(order.tenants.is_some(), subject.tenants > 1, "{} {}", scenario.name, subject.name);
                let Some((at, _)) = order.tenants else { continue };
                assert_eq!(order.bytes.get(at - TENANT.len()..at + 8), Some(&b"tenant-000000\r\n"[..]));
            }
        }
    }
}
