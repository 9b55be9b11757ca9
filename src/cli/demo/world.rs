//! The demonstration's world: a scripted provider, a folder with a policy and tenants, a ledger that already holds this
//! month, and the gateway in front.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Settings;
use crate::domain::attribution::Attribution;
use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::money::Money;
use crate::domain::tenant::{Tenant, TenantId};
use crate::domain::usage::{Basis, Usage};
use crate::domain::window::{Period, calendar_window};
use crate::ledger::Ledger;
use crate::ledger::entry::{Ending, LedgerEntry};
use crate::meter::reservation::Postings;
use crate::node::Node;
use crate::sim::{Provider, Script};

const POLICY: &str = include_str!("../../../policies/realistic.yaml");
const TENANTS: &str = "\
tenantId,name,plan,segment,account_owner,revenue,upgrade_url
globex,Globex GmbH,growth,,dana@example.com,199/month,https://app.example.com/upgrade
initech,Initech,growth,,dana@example.com,199/month,https://app.example.com/upgrade
soylent,Soylent,starter,high_volume_low_risk,sam@example.com,29/month,https://app.example.com/upgrade
acme-corp,Acme Corp,enterprise,low_volume_high_stakes,lee@example.com,2400/month,
hooli,Hooli,enterprise,,lee@example.com,6000/month,
";
/// The key of the demonstration's application, which speaks for all tenants.
pub(super) const KEY: &str = "demo-key-of-your-backend";
/// The admin token.
pub(super) const ADMIN_TOKEN: &str = "demo-admin-token";

/// What tenants had already spent this month, in whole cents: tenant, feature, prompt, cents.
const HISTORY: [(&str, &str, &str, i64); 8] = [
    ("globex", "support.reply", "support_v9", 10_100),
    ("globex", "digest.weekly", "digest_v7", 1_550),
    ("initech", "support.reply", "support_v9", 11_500),
    ("soylent", "digest.weekly", "digest_v7", 640),
    ("soylent", "search.rerank", "rank_v2", 545),
    ("acme-corp", "contract.review", "contract_v8", 68_000),
    ("hooli", "checkout.ai_summary", "sum_v3", 127_000),
    ("hooli", "digest.weekly", "digest_v7", 1_930),
];

/// Everything that runs.
pub(super) struct World {
    pub(super) node: Option<Node>,
    _provider: Provider,
    folder: std::path::PathBuf,
}

impl World {
    pub(super) async fn start() -> Result<Self, String> {
        let provider = Provider::start(script()).await.map_err(|error| error.to_string())?;
        let folder = std::env::temp_dir().join(format!("plimsoll-demo-{}", std::process::id()));
        furnish(&folder, &provider.base_url()).map_err(|error| format!("`{}`: {error}", folder.display()))?;
        let place = folder.clone();
        let node = tokio::task::spawn_blocking(move || {
            remember(&place)?;
            let settings = Settings::load(Some(&place.join("plimsoll.yaml")), &|_| None)
                .map_err(|broken| crate::diagnostic::render(&broken.diagnostics, &broken.sources))?;
            Node::start(settings, Arc::new(SystemClock)).map_err(|error| error.to_string())
        });
        let node = node.await.map_err(|error| error.to_string())??;
        Ok(Self { node: Some(node), _provider: provider, folder })
    }

    pub(super) fn data(&self) -> SocketAddr {
        self.node.as_ref().map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)), Node::data_address)
    }

    pub(super) fn admin(&self) -> SocketAddr {
        self.node.as_ref().map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)), Node::admin_address)
    }

    /// The policy that visitors may edit while it runs.
    pub(super) fn policy_file(&self) -> std::path::PathBuf {
        self.folder.join("policies/policy.yaml")
    }

    pub(super) async fn stop(mut self) {
        if let Some(node) = self.node.take() {
            // A demonstration does not wait for answers that nobody will read.
            let _ = tokio::task::spawn_blocking(move || drop(node)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A provider that answers within a few seconds, so that a minute shows much.
fn script() -> Script {
    Script { token_delay: Duration::from_millis(2), ..Script::realistic() }
}

fn furnish(folder: &Path, provider: &str) -> std::io::Result<()> {
    let policies = folder.join("policies");
    fs::create_dir_all(&policies)?;
    fs::write(policies.join("policy.yaml"), POLICY)?;
    fs::write(policies.join("tenants.csv"), TENANTS)?;
    let provider_line =
        |name: &str| format!("  {name}: {{ dialect: {name}, base_url: \"{provider}\", api_key: \"sk-simulated\" }}\n");
    let config = format!(
        "listen: 127.0.0.1:{}\nadmin: {{ listen: 127.0.0.1:{}, token: {ADMIN_TOKEN} }}\nproviders:\n{}{}{}keys:\n  - {{ name: backend, secret: \
         {KEY}, tenants: any }}\n",
        free_port(4180),
        free_port(4181),
        provider_line("openai"),
        provider_line("anthropic"),
        provider_line("gemini"),
    );
    fs::write(folder.join("plimsoll.yaml"), config)
}

/// The usual port, or any when it is taken.
fn free_port(usual: u16) -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", usual)).map_or(0, |_| usual)
}

/// Writes what happened this month before the curtain rose.
fn remember(folder: &Path) -> Result<(), String> {
    let ledger = Ledger::open(&folder.join("plimsoll.db")).map_err(|error| error.to_string())?;
    let now = SystemClock.now();
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap_or(jiff::tz::TimeZone::UTC);
    let month = calendar_window(Period::Month, &zone, now);
    for (nth, (tenant, tag, prompt, cents)) in HISTORY.iter().enumerate() {
        let Some(permit) = ledger.permit() else { continue };
        let at = Timestamp::from_micros(month.start.micros().midpoint(now.micros()));
        permit.send(past(nth, tenant, (tag, prompt), *cents, at).ok_or("the history names no tenant")?);
    }
    ledger.flush().map_err(|error| error.to_string())?;
    ledger.close();
    Ok(())
}

/// One row that stands for a month's calls.
fn past(nth: usize, tenant: &str, (tag, prompt): (&str, &str), cents: i64, at: Timestamp) -> Option<LedgerEntry> {
    let id: Arc<str> = Arc::from(format!("req_history_{nth}"));
    let attribution =
        Attribution { endpoint_tag: Arc::from(tag), prompt_version: Arc::from(prompt), ..Attribution::default() };
    let tokens = u64::try_from(cents).ok()? * 1_000;
    let line = TENANTS.lines().find(|line| line.split(',').next() == Some(tenant))?;
    let field = |at: usize| line.split(',').nth(at).filter(|text| !text.is_empty()).map(Arc::from);
    let facts = Tenant { plan: field(2), segment: field(3), ..Tenant::unknown(TenantId::new(tenant).ok()?) };
    Some(LedgerEntry {
        attempt_id: Arc::clone(&id),
        request_id: id,
        admitted_at: at,
        tenant: Arc::new(facts),
        attribution: Arc::new(attribution),
        key_name: Some(Arc::from("backend")),
        provider: Arc::from("anthropic"),
        dialect: Arc::from("anthropic-messages"),
        path: Arc::from("/v1/messages"),
        model_requested: Some(Arc::from("claude-opus-4-5")),
        model_served: Some(Arc::from("claude-opus-4-5")),
        model_answered: Some(Arc::from("claude-opus-4-5")),
        stream: false,
        logical: true,
        usage: Usage { input: Some(tokens), output: Some(tokens / 20), ..Usage::default() },
        basis: Basis::Exact,
        price: None,
        cost: Some(Money::from_nano(cents * 10_000_000)),
        status: 200,
        ending: Ending::Complete,
        decision: Arc::from(""),
        would: Arc::from(""),
        policy: Arc::from("r0 history"),
        overhead_us: 0,
        first_byte_us: None,
        duration_us: 0,
        postings: Postings::new(),
        snapshot: 0,
        correction: None,
    })
}
