//! The demonstration's applications: each calls the gateway as a real one would, over its own connections, in three
//! dialects, streamed and not, and remembers what it was told in the answers' headers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::world::{KEY, World};

/// Lines of the event log that are kept.
const EVENTS: usize = 10;

/// One application of one tenant.
struct Application {
    tenant: &'static str,
    tag: &'static str,
    prompt: &'static str,
    /// Path below the gateway and the model in it.
    call: Shape,
    model: &'static str,
    /// Bytes of prompt.
    prompt_bytes: usize,
    /// Tokens that the model would answer with, uncapped.
    answer_tokens: u64,
    /// Milliseconds between calls.
    every: u64,
}

#[derive(Clone, Copy)]
enum Shape {
    OpenAi { stream: bool },
    Anthropic,
    Gemini,
}

#[rustfmt::skip]
const APPLICATIONS: [Application; 10] = [
    Application { tenant: "globex", tag: "support.reply", prompt: "support_v9", call: Shape::Anthropic, model: "claude-opus-4-5", prompt_bytes: 36_000, answer_tokens: 900, every: 60 },
    Application { tenant: "globex", tag: "digest.weekly", prompt: "digest_v7", call: Shape::OpenAi { stream: false }, model: "gpt-4o", prompt_bytes: 40_000, answer_tokens: 1_400, every: 400 },
    Application { tenant: "globex", tag: "export.summary", prompt: "export_v1", call: Shape::OpenAi { stream: true }, model: "gpt-4o", prompt_bytes: 8_000, answer_tokens: 700, every: 1_500 },
    Application { tenant: "initech", tag: "support.reply", prompt: "support_v9", call: Shape::Gemini, model: "gemini-2.5-pro", prompt_bytes: 20_000, answer_tokens: 1_000, every: 120 },
    Application { tenant: "soylent", tag: "digest.weekly", prompt: "digest_v7", call: Shape::OpenAi { stream: false }, model: "gpt-4o", prompt_bytes: 12_000, answer_tokens: 1_200, every: 300 },
    Application { tenant: "soylent", tag: "search.rerank", prompt: "rank_v2", call: Shape::Gemini, model: "gemini-2.5-pro", prompt_bytes: 9_000, answer_tokens: 800, every: 600 },
    Application { tenant: "acme-corp", tag: "contract.review", prompt: "contract_v8", call: Shape::Anthropic, model: "claude-opus-4-5", prompt_bytes: 30_000, answer_tokens: 1_500, every: 700 },
    Application { tenant: "hooli", tag: "checkout.ai_summary", prompt: "sum_v3", call: Shape::OpenAi { stream: true }, model: "gpt-4o", prompt_bytes: 4_000, answer_tokens: 300, every: 150 },
    Application { tenant: "hooli", tag: "digest.weekly", prompt: "digest_v7", call: Shape::OpenAi { stream: false }, model: "gpt-4o", prompt_bytes: 20_000, answer_tokens: 1_200, every: 500 },
    Application { tenant: "hooli", tag: "agent.plan", prompt: "plan_v1", call: Shape::Anthropic, model: "claude-opus-4-5", prompt_bytes: 16_000, answer_tokens: 600, every: 900 },
];

/// What one tenant's applications were told.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) capped: u64,
    pub(super) throttled: u64,
    pub(super) routed: u64,
    pub(super) blocked: u64,
    pub(super) failed: u64,
    /// The `plimsoll-budget` entry of the tenant's month.
    pub(super) state: String,
    pub(super) used_percent: u32,
    pub(super) step: String,
    /// Decisions that have been reported: endpoint and actions.
    seen: BTreeSet<String>,
    /// Output tokens that caps kept from being generated.
    pub(super) tokens_kept: u64,
}

/// What all of them were told, and the latest events.
#[derive(Default)]
pub(super) struct Score {
    board: Mutex<(BTreeMap<&'static str, Tally>, Vec<String>)>,
}

impl Score {
    pub(super) fn read(&self) -> (BTreeMap<&'static str, Tally>, Vec<String>) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A call that got no whole answer.
    fn fail(&self, application: &Application) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.0.entry(application.tenant).or_default().failed += 1;
    }

    fn note(&self, application: &Application, status: u16, headers: &HeaderMap) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let (tallies, events) = &mut *board;
        let tally = tallies.entry(application.tenant).or_default();
        let decision = header(headers, "plimsoll-decision");
        tally.calls += 1;
        let served = status == 200;
        tally.capped += u64::from(served && (has(decision, "cap") || has(decision, "clamp")));
        tally.throttled += u64::from(has(decision, "throttle"));
        tally.routed += u64::from(served && has(decision, "route"));
        tally.blocked += u64::from(has(decision, "block"));
        tally.failed += u64::from(status >= 500);
        if let Some(cap) = parameter(decision, "cap").filter(|_| served).and_then(|cap| cap.parse::<u64>().ok()) {
            tally.tokens_kept += application.answer_tokens.saturating_sub(cap);
        }
        if let Some(month) = header(headers, "plimsoll-budget").split(", ").find(|entry| entry.contains("tenant_month"))
        {
            let state = parameter_of(month, "state").unwrap_or_default();
            let used = parameter_of(month, "used").and_then(|used| used.parse().ok()).unwrap_or(0);
            // Answers overtake each other; usage itself only rises.
            if used >= tally.used_percent {
                if state != tally.state && !tally.state.is_empty() {
                    events.push(format!("{:<10} {} → {state} at {used} %", application.tenant, tally.state));
                }
                state.clone_into(&mut tally.state);
                tally.used_percent = used;
            }
        }
        let step = parameter(decision, "step").or_else(|| parameter(decision, "by")).unwrap_or_default();
        if severity(step) > severity(&tally.step) {
            step.clone_into(&mut tally.step);
        }
        let actions: Vec<&str> = decision.split(", ").filter_map(|member| member.split('=').next()).collect();
        if !decision.is_empty() && tally.seen.insert(format!("{} {}", application.tag, actions.join(" "))) {
            events.push(format!("{:<10} {:<20} {status}  {decision}", application.tenant, application.tag));
        }
        let surplus = events.len().saturating_sub(EVENTS);
        events.drain(..surplus);
    }
}

/// Where a word stands on the ladder; rules of plans and segments stand below it.
fn severity(step: &str) -> u8 {
    match step {
        "" => 0,
        "contain" => 2,
        "degrade" => 3,
        "decide" => 4,
        _ => 1,
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a Structured Fields dictionary has a key.
fn has(dictionary: &str, key: &str) -> bool {
    dictionary.split(", ").any(|member| member.split('=').next() == Some(key))
}

fn parameter<'d>(dictionary: &'d str, key: &str) -> Option<&'d str> {
    let members = dictionary.split(", ").filter_map(|member| member.split_once('='));
    members.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"'))
}

fn parameter_of<'d>(item: &'d str, key: &str) -> Option<&'d str> {
    item.split(';').filter_map(|part| part.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The running applications.
pub(super) struct Traffic(JoinSet<()>);

impl Traffic {
    pub(super) fn start(world: &World, score: &Arc<Score>) -> Self {
        let mut tasks = JoinSet::new();
        for application in &APPLICATIONS {
            tasks.spawn(work(application, world.data(), Arc::clone(score)));
        }
        Self(tasks)
    }

    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

/// Calls at a steady pace; answers may overlap.
async fn work(application: &'static Application, address: SocketAddr, score: Arc<Score>) {
    let mut calls = JoinSet::new();
    let mut due = tokio::time::interval(Duration::from_millis(application.every));
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for nth in 0_u64.. {
        due.tick().await;
        while calls.try_join_next().is_some() {}
        let score = Arc::clone(&score);
        calls.spawn(async move {
            match call(application, address, nth).await {
                Ok((status, headers)) => score.note(application, status, &headers),
                Err(_) => score.fail(application),
            }
        });
    }
}

async fn call(application: &Application, address: SocketAddr, nth: u64) -> std::io::Result<(u16, HeaderMap)> {
    let tcp = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.map_err(std::io::Error::other)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its end shows in the answer.
        let _ = connection.await;
    });
    let response = sender.send_request(request(application, nth)?).await.map_err(std::io::Error::other)?;
    let (head, mut body) = response.into_parts();
    while let Some(frame) = body.frame().await {
        frame.map_err(std::io::Error::other)?;
    }
    Ok((head.status.as_u16(), head.headers))
}

fn request(application: &Application, nth: u64) -> std::io::Result<Request<Full<Bytes>>> {
    let text = prompt(application, nth);
    let model = application.model;
    let (path, body) = match application.call {
        Shape::OpenAi { stream } => (
            "/openai/v1/chat/completions".to_owned(),
            serde_json::json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": text }] }),
        ),
        Shape::Anthropic => (
            "/anthropic/v1/messages".to_owned(),
            serde_json::json!({ "model": model, "max_tokens": 4_000, "messages": [{ "role": "user", "content": text }] }),
        ),
        Shape::Gemini => (
            format!("/gemini/v1beta/models/{model}:generateContent"),
            serde_json::json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] }),
        ),
    };
    Request::post(path)
        .header("host", "plimsoll")
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .header("plimsoll-tenant-id", application.tenant)
        .header("plimsoll-endpoint-tag", application.tag)
        .header("plimsoll-prompt-version", application.prompt)
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(std::io::Error::other)
}

/// A prompt of the right size that tells the scripted provider how long its answer would be.
fn prompt(application: &Application, nth: u64) -> String {
    let sentence = "The customer writes that the report they ordered has not arrived and asks what became of it. ";
    let mut text = format!("[[tokens={}]] Case {nth}. ", application.answer_tokens);
    while text.len() < application.prompt_bytes {
        text.push_str(sentence);
    }
    text
}
