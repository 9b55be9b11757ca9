//! What segments watch, over sockets: told once a day, counted each time, and nothing of a call is changed.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Builder;
use plimsoll::domain::clock::{Clock, ManualClock, Timestamp};
use plimsoll::sim::Canned;
use serde_json::{Value, json};

use super::{CHAT, chat, eventually, post, row, with};
use crate::harness::{Receiver, Rig, Setup};

const POLICY: &str = "version: 1
mode: enforce
segments:
  tool_heavy: { watch: { tool_output_tokens: above 100/request, steps: above 2/workflow } }
  rag_heavy: { watch: { avgInputTokens: above 500, retrieval.k: above 12 } }
  calm: { watch: { steps: above 1000000/workflow }, limits: { max_tool_output_tokens: 1000000 } }
";
const TENANTS: &str = "tenantId,segment,account_owner
globex,tool_heavy,dana@example.com
acme,rag_heavy,dana@example.com
initech,calm,dana@example.com
umbrella,,dana@example.com
";

struct Stage {
    rig: Rig,
    clock: Arc<ManualClock>,
    receiver: Receiver,
}

impl Stage {
    async fn set() -> Self {
        let noon = Timestamp::from_jiff("2026-11-10T12:00:00Z".parse().expect("a moment"));
        let (clock, receiver) = (Arc::new(ManualClock::at(noon)), Receiver::start().await);
        let config = format!(
            "notify:\n  dana@example.com: {{ webhook: \"{}\", secret: \"a-webhook-secret\" }}\n",
            receiver.url()
        );
        let rig = Rig::start(Setup {
            policy: Some(POLICY),
            tenants: Some(TENANTS),
            config: &config,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..Setup::default()
        });
        Self { rig: rig.await, clock, receiver }
    }

    /// Sends a call of a tenant that is answered as if nobody watched, and returns its name.
    async fn send(&self, tenant: &str, body: &Value, more: impl FnOnce(Builder) -> Builder) -> String {
        let mut request = more(post(CHAT));
        request.headers_mut().expect("headers").insert("plimsoll-tenant-id", tenant.parse().expect("a header"));
        let reply = self.rig.send(with(request, body.to_string())).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        let fields = ["plimsoll-decision", "plimsoll-would", "plimsoll-warning"].map(|name| reply.header(name));
        assert_eq!(fields, [""; 3], "nothing is done, or would be");
        let sent = self.rig.provider.requests();
        assert_eq!(*sent.last().expect("a request").body, *body.to_string().as_bytes(), "it left as it came");
        let id = reply.header("plimsoll-request-id").to_owned();
        assert_eq!(row(&self.rig, &id).await["decision"], "");
        id
    }

    async fn counted(&self, segment: &str, watch: &str) -> u64 {
        let page = self.rig.admin("/metrics").await.text();
        let name = format!("plimsoll_watch_exceeded_total{{segment=\"{segment}\",watch=\"{watch}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }

    /// Everything that was told, once there are so many; and a little later there are no more.
    async fn told(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} notifications"), async || self.receiver.kinds().len() >= count).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let told = self.receiver.events();
        assert_eq!(told.len(), count, "{told:#?}");
        told
    }
}

fn result_of_a_tool(length: usize) -> Value {
    let said = json!([
        { "role": "user", "content": "x" },
        { "role": "tool", "tool_call_id": "a", "content": "y".repeat(length / 2) },
        { "role": "tool", "tool_call_id": "b", "content": "z".repeat(length / 2) },
    ]);
    json!({ "model": "gpt-4o", "messages": said })
}

// Mutations: everything is news; nothing is; the count is taken of news only; the longest result alone is judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_of_tools_that_are_long_together_are_told_once_a_day_and_counted_each_time() {
    let stage = Stage::set().await;
    let plain = |request: Builder| request;
    stage.send("globex", &result_of_a_tool(400), plain).await;
    let first = stage.send("globex", &result_of_a_tool(408), plain).await;
    stage.send("globex", &result_of_a_tool(800), plain).await;
    let told = stage.told(1).await;
    assert_eq!(stage.counted("tool_heavy", "tool_output_tokens").await, 2);
    let shown = serde_json::to_string_pretty(&told[0]).expect("JSON");
    insta::assert_snapshot!(shown.replace(&first, "req_1"), @r#"
    {
      "data": {
        "message": "`tool_output_tokens` is 102, above the 100 that segment tool_heavy watches for (request req_1)",
        "tenant": {
          "account_owner": "dana@example.com",
          "name": null,
          "plan": null,
          "segment": "tool_heavy",
          "tenantId": "globex"
        },
        "watch": {
          "above": 100,
          "endpointTag": "_untagged",
          "name": "tool_output_tokens",
          "promptVersion": "_unversioned",
          "request_id": "req_1",
          "seen": 102,
          "segment": "tool_heavy"
        }
      },
      "timestamp": "2026-11-10T12:00:00Z",
      "type": "watch.exceeded"
    }
    "#);
    stage.clock.advance(Duration::from_hours(12));
    stage.send("globex", &result_of_a_tool(408), plain).await;
    stage.told(2).await;
    assert_eq!(stage.counted("tool_heavy", "tool_output_tokens").await, 3);
    stage.rig.stop().await;
}

// Mutations: calls of no workflow are steps of one; another attempt is a step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_third_step_of_a_workflow_is_told_whatever_core_it_comes_over() {
    let stage = Stage::set().await;
    let step = async |tenant: &str, workflow: Option<&'static str>, id: &'static str| {
        let headers = |request: Builder| {
            let request = request.header("plimsoll-external-request-id", id);
            workflow.into_iter().fold(request, |request, workflow| request.header("plimsoll-workflow-id", workflow))
        };
        stage.send(tenant, &chat("hello"), headers).await;
    };
    for (workflow, id) in [(Some("w"), "1"), (Some("v"), "2"), (Some("w"), "3"), (None, "4"), (None, "5"), (None, "6")]
    {
        step("globex", workflow, id).await;
    }
    step("globex", Some("w"), "3").await;
    stage.told(0).await;
    step("globex", Some("w"), "7").await;
    step("globex", Some("w"), "8").await;
    let told = &stage.told(1).await[0]["data"]["watch"];
    assert_eq!((&told["name"], &told["seen"], &told["above"]), (&json!("steps"), &json!(3), &json!(2)));
    assert_eq!(told["workflowId"], "w");
    assert_eq!(stage.counted("tool_heavy", "steps").await, 2);
    stage.rig.stop().await;
}

// Mutations: the mean is judged from the first call; it is of all versions together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_whose_input_is_long_on_average_is_told_from_its_twentieth_call_on() {
    let stage = Stage::set().await;
    let (long, short) = (chat(&"word ".repeat(2_000)), chat("hello"));
    let of = |prompt: &'static str| move |request: Builder| request.header("plimsoll-prompt-version", prompt);
    for _ in 0..19 {
        stage.send("acme", &long, of("v2")).await;
        stage.send("acme", &short, of("v1")).await;
    }
    stage.told(0).await;
    stage.send("acme", &short, of("v1")).await;
    stage.send("acme", &long, of("v2")).await;
    stage.send("acme", &long, of("v2")).await;
    let told = &stage.told(1).await[0]["data"]["watch"];
    assert_eq!((&told["name"], &told["above"]), (&json!("avgInputTokens"), &json!(500)));
    assert_eq!(told["promptVersion"], "v2");
    assert!(told["seen"].as_u64().is_some_and(|seen| (1_000..4_000).contains(&seen)), "{told}");
    assert_eq!(stage.counted("rag_heavy", "avgInputTokens").await, 2);
    stage.rig.stop().await;
}

// Mutation: an estimate of the input counts as what the provider said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_input_of_answers_without_usage_is_not_averaged() {
    let stage = Stage::set().await;
    let silent = json!({ "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Yes." }, "finish_reason": "stop" }] });
    for _ in 0..25 {
        stage.rig.provider.enqueue(Canned::new(200, "application/json", silent.to_string()));
        stage.send("acme", &chat(&"word ".repeat(2_000)), |request| request).await;
    }
    stage.told(0).await;
    assert_eq!(stage.counted("rag_heavy", "avgInputTokens").await, 0);
    stage.rig.stop().await;
}

// Mutation: every tenant is watched by every segment's bounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attribute_is_told_of_the_segment_that_watches_it_alone() {
    let stage = Stage::set().await;
    let of = |k: &'static str| move |request: Builder| request.header("plimsoll-attr-retrieval-k", k);
    for tenant in ["acme", "globex", "initech", "umbrella", "stranger"] {
        for k in ["12", "many"] {
            stage.send(tenant, &chat(k), of(k)).await;
        }
    }
    for tenant in ["globex", "initech", "umbrella", "stranger"] {
        stage.send(tenant, &chat("much"), of("50")).await;
        stage.send("initech", &result_of_a_tool(4_000), of("50")).await;
    }
    stage.told(0).await;
    stage.send("acme", &chat("much"), of("13")).await;
    stage.send("acme", &chat("more"), of("50")).await;
    let told = &stage.told(1).await[0]["data"];
    assert_eq!(told["tenant"]["tenantId"], "acme");
    let watch = &told["watch"];
    assert_eq!((&watch["name"], &watch["seen"], &watch["above"]), (&json!("retrieval.k"), &json!(13), &json!(12)));
    assert_eq!(stage.counted("rag_heavy", "retrieval.k").await, 2);
    let page = stage.rig.admin("/metrics").await.text();
    let others: Vec<&str> = page.lines().filter(|line| line.starts_with("plimsoll_watch_exceeded_total")).collect();
    assert_eq!(others.len(), 1, "{others:?}");
    stage.rig.stop().await;
}
