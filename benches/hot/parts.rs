//! What is measured: the parts that every call passes through, each as a closure that does it once.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::content::Content;
use plimsoll::domain::price::PriceBook;
use plimsoll::domain::standing::{Standing, Standings, Unit};
use plimsoll::domain::tenant::Tenant;
use plimsoll::domain::usage::Usage;
use plimsoll::domain::window::Window;
use plimsoll::meter::Meter;
use plimsoll::meter::counter::{Counter, WindowCounter};
use plimsoll::meter::reservation::{Ask, reserve};
use plimsoll::policy::{CallFacts, Policy, evaluate};
use plimsoll::wire::http1;
use plimsoll::wire::openai_chat::OpenAiChat;
use plimsoll::wire::tap::Tap;
use plimsoll::wire::{Dialect, Edits, Framing, Target};

use super::inputs::{self, NOW};

/// One part of the hot path.
pub(crate) struct Part {
    /// Its name in the table of figures.
    pub(crate) name: &'static str,
    /// Prepares its input and returns what does it once.
    pub(crate) prepare: fn() -> Box<dyn FnMut()>,
}

/// Every part, in the order in which a call meets them.
pub(crate) const PARTS: &[Part] = &[
    Part { name: "peek-2k", prepare: || peek(2_000) },
    Part { name: "peek-100k", prepare: || peek(100_000) },
    Part { name: "price-exact", prepare: || price("gpt-4o") },
    Part { name: "price-release", prepare: || price("gpt-4o-2024-08-06") },
    Part { name: "count", prepare: count },
    Part { name: "evaluate-quiet", prepare: || judge(QUIET) },
    Part { name: "evaluate-reached", prepare: || judge(REACHED) },
    Part { name: "reserve-settle", prepare: reserve_and_settle },
    Part { name: "splice", prepare: splice },
    Part { name: "answer-head", prepare: answer_head },
    Part { name: "chunks-64", prepare: chunks },
    Part { name: "tap-json", prepare: tap_json },
    Part { name: "tap-sse-64", prepare: tap_sse },
    Part { name: "tap-sse-chunk", prepare: tap_chunk },
    Part { name: "bill", prepare: bill },
    Part { name: "decision", prepare: decision },
];

const TARGET: Target<'static> = Target { method: &Method::POST, path: "/v1/chat/completions", query: None };

fn peek(bytes: usize) -> Box<dyn FnMut()> {
    let body = inputs::chat(bytes, false);
    Box::new(move || {
        let peek = OpenAiChat.peek(&TARGET, black_box(&body)).expect("a well-formed body");
        black_box(peek);
    })
}

/// Another model, a lower limit and a wish for usage, in a body that streams.
fn splice() -> Box<dyn FnMut()> {
    let body: &'static Bytes = Box::leak(Box::new(Bytes::from(inputs::chat(2_000, true))));
    let peek = OpenAiChat.peek(&TARGET, body).expect("a well-formed body");
    let edits = Edits { model: Some("gpt-4o-mini"), cap: Some(600), ask_usage: true, service_tier: None };
    Box::new(move || {
        black_box(OpenAiChat.rewrite(&TARGET, body, black_box(&peek), &edits));
    })
}

/// The head of a provider's answer, with as many headers as they send.
fn answer_head() -> Box<dyn FnMut()> {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ndate: Sat, 28 Nov 2026 09:00:00 GMT\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
        transfer-encoding: chunked\r\nconnection: keep-alive\r\nopenai-version: 2020-10-01\r\nopenai-processing-ms: 412\r\n\
        x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-request-id: req_0123456789abcdef\r\n\
        strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n\r\n";
    Box::new(move || {
        let head = http1::answer_head(black_box(HEAD), &Method::POST).expect("a head");
        assert!(head.is_some_and(|head| head.keep_alive), "the head is whole");
    })
}

/// A burst of 64 chunks, each an event.
fn chunks() -> Box<dyn FnMut()> {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let head = http1::answer_head(HEAD, &Method::POST).expect("a head").expect("a whole head");
    let chunk = |event: Vec<u8>| [format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat();
    let burst: Vec<u8> = inputs::stream(64).into_iter().flat_map(chunk).collect();
    Box::new(move || {
        let (content, used) = head.body.clone().read(black_box(&burst));
        assert!(used == burst.len() && !content.is_empty(), "all chunks are read");
    })
}

fn tap_json() -> Box<dyn FnMut()> {
    let text = "All work and no play makes a dull gateway. ".repeat(42);
    let answer = format!(
        r#"{{"id":"chatcmpl-123","object":"chat.completion","created":1795428000,"model":"gpt-4o-2024-08-06","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":512,"completion_tokens":64,"total_tokens":576}}}}"#
    );
    Box::new(move || {
        let mut tap = Tap::new(&OpenAiChat, Framing::Json);
        tap.read(black_box(answer.as_bytes()));
        assert!(tap.finish().usage.is_known(), "usage is read");
    })
}

fn tap_sse() -> Box<dyn FnMut()> {
    let chunks = inputs::stream(64);
    Box::new(move || {
        let mut tap = Tap::new(&OpenAiChat, Framing::Sse);
        for chunk in &chunks {
            tap.read(black_box(chunk));
        }
        assert!(tap.finish().usage.is_known(), "usage is read");
    })
}

/// One more event of a stream that runs.
fn tap_chunk() -> Box<dyn FnMut()> {
    let chunk = inputs::stream(1).swap_remove(0);
    let mut tap = Tap::new(&OpenAiChat, Framing::Sse);
    Box::new(move || tap.read(black_box(&chunk)))
}

fn price(model: &'static str) -> Box<dyn FnMut()> {
    let prices = PriceBook::builtin();
    Box::new(move || {
        black_box(prices.find("openai", "openai", black_box(model)).expect("a price"));
    })
}

/// What an answer cost: the price of the model that answered, and the sum.
fn bill() -> Box<dyn FnMut()> {
    let prices = PriceBook::builtin();
    let usage = Usage { input: Some(512), cached_input: Some(128), output: Some(64), ..Usage::default() };
    Box::new(move || {
        let row = Arc::clone(prices.find("openai", "openai", black_box("gpt-4o-2024-08-06")).expect("a price"));
        black_box(row.cost(black_box(&usage)).expect("a cost"));
    })
}

/// A call before the realistic policy.
struct Scene {
    policy: Policy,
    tenant: Tenant,
    attribution: Attribution,
    standings: Standings,
}

/// How much of each budget's limit is used, in percent, and whose call it is.
#[derive(Clone, Copy)]
struct Spent {
    tenant: (&'static str, &'static str, Option<&'static str>),
    tenant_month: i64,
    others: i64,
}

/// Two budgets count the call and nothing is reached.
const QUIET: Spent = Spent { tenant: ("globex", "growth", None), tenant_month: 10, others: 10 };
/// Three budgets count the call; one is at 115 %: a cap, a rate and a cheaper model apply, and the segment's rules too.
const REACHED: Spent =
    Spent { tenant: ("soylent", "starter", Some("high_volume_low_risk")), tenant_month: 115, others: 50 };

impl Scene {
    fn new(spent: Spent) -> Self {
        let (name, plan, segment) = spent.tenant;
        let (policy, tenant) = (inputs::policy(), inputs::tenant(name, plan, segment));
        let mut scene = Self { policy, tenant, attribution: inputs::attribution(), standings: Standings::new() };
        let counted = scene.policy.counted(&scene.facts());
        scene.standings = counted
            .iter()
            .map(|counted| {
                let limit = counted.limit.expect("a limit");
                let own = *scene.policy.budgets[counted.budget].name == *"tenant_month";
                let percent = if own { spent.tenant_month } else { spent.others };
                let window = scene.policy.window(counted.budget, NOW);
                Standing { budget: counted.budget, limit, used: limit / 100 * percent, window, decide_opened: None }
            })
            .collect();
        scene
    }

    fn facts(&self) -> CallFacts<'_> {
        CallFacts {
            now: NOW,
            tenant: &self.tenant,
            attribution: &self.attribution,
            provider: "openai",
            model: "gpt-4o",
            cap: Some(1_000),
            thinking_budget: None,
            reasoning: false,
            content: Content::default(),
        }
    }
}

/// Which budgets count the call, and up to which limits.
fn count() -> Box<dyn FnMut()> {
    let scene = Scene::new(QUIET);
    Box::new(move || {
        black_box(scene.policy.counted(black_box(&scene.facts())));
    })
}

fn judge(spent: Spent) -> Box<dyn FnMut()> {
    let scene = Scene::new(spent);
    Box::new(move || {
        black_box(evaluate(&scene.policy, black_box(&scene.facts()), &scene.standings));
    })
}

fn lease_plenty(window: &WindowCounter) {
    for unit in Unit::ALL {
        window.lease(unit).grant(i64::MAX / 4, 0);
    }
}

fn windows() -> Vec<WindowCounter> {
    let window = || {
        let counter = WindowCounter::new(Window::EVER);
        lease_plenty(&counter);
        counter
    };
    std::iter::repeat_with(window).take(3).collect()
}

/// Three hard budgets: money, tokens and requests.
fn reserve_and_settle() -> Box<dyn FnMut()> {
    let windows = windows();
    Box::new(move || settle_once(&windows))
}

/// Holds in three windows, and settles for less.
pub(crate) fn settle_once(windows: &[WindowCounter]) {
    let amounts = [(Unit::Money, 5_000), (Unit::Tokens, 700), (Unit::Requests, 1)];
    let asks: smallvec::SmallVec<[Ask<'_>; 8]> = windows
        .iter()
        .zip(amounts)
        .map(|(window, (unit, amount))| Ask::hold(window, unit, amount, i64::MAX / 2))
        .collect();
    let mut reservation = reserve(black_box(&asks)).expect("room");
    reservation.admit(true);
    black_box(reservation.settle(black_box([3_000, 576, 1])));
}

/// Windows for [`settle_once`], one set per thread.
pub(crate) fn sets(threads: usize) -> Vec<Vec<WindowCounter>> {
    std::iter::repeat_with(windows).take(threads).collect()
}

/// All of it, as admission and settlement put it together: count, look at the counters, judge, hold, settle.
fn decision() -> Box<dyn FnMut()> {
    let scene = Scene::new(QUIET);
    let meter = Meter::default();
    let facts = scene.facts();
    let dimensions = scene.policy.dimensions(facts.tenant, facts.attribution, facts.provider, facts.model);
    let counter = |budget: usize| -> Arc<Counter> {
        let key = scene.policy.counter_key(budget, &dimensions).unwrap_or_default();
        let counter = meter.counter(&scene.policy.budgets[budget].identity, key);
        let window = counter.window(NOW, || scene.policy.window(budget, NOW));
        lease_plenty(&window);
        counter
    };
    let counters: Vec<Arc<Counter>> = (0..scene.policy.budgets.len()).map(counter).collect();
    Box::new(move || decide(&scene, &counters))
}

fn decide(scene: &Scene, counters: &[Arc<Counter>]) {
    let facts = black_box(scene.facts());
    let mut windows: smallvec::SmallVec<[WindowCounter; 8]> = smallvec::SmallVec::new();
    let mut standings = Standings::new();
    for counted in scene.policy.counted(&facts) {
        let window = counters[counted.budget].window(NOW, || scene.policy.window(counted.budget, NOW));
        standings.push(Standing {
            budget: counted.budget,
            limit: counted.limit.expect("a limit"),
            used: 0,
            window: window.window(),
            decide_opened: window.decide_opened(),
        });
        windows.push(window);
    }
    let decision = evaluate(&scene.policy, &facts, &standings);
    let asks: smallvec::SmallVec<[Ask<'_>; 8]> = standings
        .iter()
        .zip(&windows)
        .map(|(standing, window)| match decision.ceilings.iter().find(|ceiling| ceiling.budget == standing.budget) {
            Some(_) => Ask::hold(window, Unit::Money, 5_000, i64::MAX / 2),
            None => Ask::count(window),
        })
        .collect();
    let mut reservation = reserve(&asks).expect("room");
    reservation.admit(true);
    black_box(reservation.settle(black_box([3_000, 576, 1])));
}
