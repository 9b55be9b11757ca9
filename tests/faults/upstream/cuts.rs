//! Providers that break off or fall silent (rows B8 and B9).

use plimsoll::sim::Script;
use serde_json::Value;

use super::{CHAT, ROOMY, SOFT, at_once, call, chat, each_stream, rounds, talks};
use crate::faults::{Agreed, Told, agree};
use crate::harness::{Rig, Setup, send};

/// Sends a call whose answer the provider does not end well, and checks that the client is told so.
async fn cut(address: std::net::SocketAddr, nonce: String, path: &'static str, body: Value) -> Told {
    let reply = send(address, call(path, &nonce, &body)).await;
    assert!(reply.cut, "{nonce} ended cleanly: {}", reply.text());
    assert!(!reply.text().contains("[DONE]") && !reply.text().contains("message_stop"), "{nonce}: {}", reply.text());
    Told { usage: None, ..Told::of(&nonce, &reply) }
}

/// Cuts a stream of about 4 KiB after every so many bytes, by FIN and by RST.
async fn cut_everywhere(policy: &str) -> Vec<Agreed> {
    let script = Script { tokens_per_event: 2, ..Script::default() };
    let rig = Rig::start(Setup { policy: Some(policy), script, ..Setup::default() }).await;
    let (address, step) = (rig.node.data_address(), rounds("PLIMSOLL_B8_STEP", 61));
    let calls = (1..4_096).step_by(step).enumerate().map(|(at, after)| {
        let how = if at % 2 == 0 { "cut" } else { "reset" };
        let (path, body) = each_stream(&format!("[[tokens=64]] [[{how}={after}]]"))[at % 3].clone();
        cut(address, format!("b8-{how}-{after}"), path, body)
    });
    let log = at_once(16, calls.collect::<Vec<_>>()).await;
    let agreed = agree(&rig, &log).await;
    // The next answer over whatever connections are left is whole.
    let reply = rig.chat("acme-corp", "a", &chat("[[tokens=5]]", false)).await;
    assert_eq!(reply.json()["usage"]["completion_tokens"], 5);
    rig.stop().await;
    agreed
}

// Mutation: in `in_doubt` ask for `Basis::Estimated` only: a cut Anthropic stream is charged what it said at its start and a
// margin. Or put a link of a cut answer back into the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_a_stream_that_is_cut_at_any_byte_is_cut_for_the_client_and_in_doubt_under_a_hard_budget() {
    for found in cut_everywhere(ROOMY).await {
        let row = found.row();
        assert_eq!((row.basis.as_str(), row.ending.as_str()), ("in_doubt", "upstream_failed"), "{found:#?}");
    }
}

// Mutation: `IN_FLIGHT_TOKENS` = 0: the event that was cut in two, or thrown away by a reset, is not charged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_a_stream_that_is_cut_at_any_byte_is_estimated_where_nothing_was_held() {
    for found in cut_everywhere(SOFT).await {
        let row = found.row();
        assert!(["estimated", "partial"].contains(&row.basis.as_str()), "{found:#?}");
        assert_eq!(row.ending, "upstream_failed");
    }
}

/// Calls whose answers come too slowly under these limits; the provider bills them to their end.
async fn too_slow(policy: &str, limits: &str, marks: &str) -> Vec<(u16, Agreed)> {
    let config = format!("limits: {{ {limits} }}\n");
    let rig = Rig::start(Setup { policy: Some(policy), config: &config, script: talks(25), ..Setup::default() }).await;
    let (mut log, mut statuses) = (Vec::new(), Vec::new());
    for (at, (path, body)) in each_stream(marks).into_iter().enumerate() {
        let nonce = format!("b9-{at}");
        let reply = rig.send(call(path, &nonce, &body)).await;
        assert!(reply.cut || reply.status == 504, "{}: {}", reply.status, reply.text());
        statuses.push(reply.status.as_u16());
        log.push(Told { usage: None, ..Told::of(&nonce, &reply) });
    }
    let agreed = agree(&rig, &log).await;
    rig.stop().await;
    statuses.into_iter().zip(agreed).collect()
}

/// The three ways to be too slow: no head, a head and then silence, and a drip that never pauses for long.
const SLOW: [(&str, &str, u16); 3] = [
    ("first_byte_timeout: 200 ms", "[[tokens=100]] [[delay=60000]]", 504),
    ("silence_timeout: 300 ms", "[[tokens=100]] [[stall=600]]", 200),
    ("answer_timeout: 500 ms", "[[tokens=900]]", 200),
];

// Mutation: in `Source::new` set no deadline (the drip goes on for 20 s), or in `poll_patience` never give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b9_a_provider_that_stalls_is_given_up_and_what_was_held_stays_in_doubt() {
    for (limits, marks, status) in SLOW {
        for (told, found) in too_slow(ROOMY, limits, marks).await {
            assert_eq!((told, found.row().basis.as_str()), (status, "in_doubt"), "{limits}: {found:#?}");
            assert_eq!(found.row().ending, "upstream_failed");
        }
    }
}

// Mutation: in `Tapped::poll` say `heard_out` also when we gave up: what was seen is charged, and the provider bills all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b9_a_provider_that_stalls_is_charged_the_most_it_may_bill_where_nothing_was_held() {
    for (limits, marks, _) in SLOW {
        for (_, found) in too_slow(SOFT, limits, marks).await {
            assert_eq!(found.row().basis, "estimated", "{limits}: {found:#?}");
            assert!(found.row().output >= Some(1_000), "{limits}: {found:#?}");
        }
    }
}

// Mutation: give the timer of a stream its first deadline for good (do not set it anew in `poll_patience`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b9_a_slow_stream_that_keeps_talking_is_not_given_up() {
    let config = "limits: { silence_timeout: 900 ms }\n";
    let rig = Rig::start(Setup { policy: Some(ROOMY), config, script: talks(30), ..Setup::default() }).await;
    let reply = rig.send(call(CHAT, "b9-slow", &chat("[[tokens=60]]", true))).await;
    assert!(!reply.cut && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    let agreed = agree(&rig, &[Told::of("b9-slow", &reply)]).await;
    assert_eq!((agreed[0].row().basis.as_str(), agreed[0].row().output), ("exact", Some(60)));
    rig.stop().await;
}
