//! The published OpenAI, Anthropic and Google GenAI SDKs against a whole gateway: what applications see of a cap, a route,
//! a throttle and a block.
//!
//! Needs the Python that `scripts/test` prepares; says so and skips where `PLIMSOLL_SDK_PYTHON` is not set.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::harness::{ADMIN_TOKEN, KEY, Rig, Setup};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/run.py");

/// Each tenant has one fate. The ladders begin at once, so that no call has to be spent on reaching them.
const POLICY: &str = r"
version: 1
mode: enforce
segments:
  capped: { cap_output_tokens: 600 }
  routed: { route: cheaper }
routes:
  cheaper: { gpt-4o: gpt-4o-mini, claude-opus-4-5: claude-haiku-4-5, gemini-2.5-pro: gemini-2.5-flash }
budgets:
  slow:    { per: [tenantId], match: { tenantId: slowco },  limit: $100/month, escalation: throttled }
  stopped: { per: [tenantId], match: { tenantId: blockco }, limit: $0/month,   escalation: blocked }
escalations:
  throttled: { contain: { at: 0%, throttle: { all: 30 requests/min } } }
  blocked:   { contain: { at: 100%, block: all } }
";

const TENANTS: &str = "tenantId,name,plan,segment\n\
    globex,Globex GmbH,,\nerrorco,Error Co,,\ncapco,Cap Co,,capped\nrouteco,Route Co,,routed\nslowco,Slow Co,,\nblockco,Block Co,,\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_sdks_understand_every_answer() {
    let Some(python) = env::var_os("PLIMSOLL_SDK_PYTHON") else {
        println!("skipped: PLIMSOLL_SDK_PYTHON is not set; `scripts/test` sets it");
        return;
    };
    let rig = Rig::start(Setup { policy: Some(POLICY), tenants: Some(TENANTS), ..Setup::default() }).await;
    let (data, admin) = (rig.node.data_address(), rig.node.admin_address());
    let ended = tokio::task::spawn_blocking(move || run(&python, data, admin)).await.expect("an end");
    let output = ended.expect("the Python that PLIMSOLL_SDK_PYTHON names starts");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the SDKs' tests end with {}", output.status);
    let spend = rig.admin("/api/v1/spend?by=tenantId").await.json();
    let total = |column: &str| -> u64 {
        spend["rows"].as_array().into_iter().flatten().filter_map(|row| row[column].as_u64()).sum()
    };
    let billed = rig.provider.totals();
    assert_eq!((total("input_tokens"), total("output_tokens")), (billed.input_tokens, billed.output_tokens), "{spend}");
    rig.stop().await;
}

/// The script ends itself, with a trace of every thread, when an SDK waits for ever.
fn run(python: &OsStr, data: SocketAddr, admin: SocketAddr) -> io::Result<Output> {
    Command::new(python)
        .arg(SCRIPT)
        .env("PLIMSOLL_URL", format!("http://{data}"))
        .env("PLIMSOLL_KEY", KEY)
        .env("PLIMSOLL_ADMIN_URL", format!("http://{admin}"))
        .env("PLIMSOLL_ADMIN_TOKEN", ADMIN_TOKEN)
        .env_remove("PLIMSOLL_DIRECT")
        .output()
}
