//! The tenant's own window, on the data plane under its own key: how much is included, how much is used, when it resets; and
//! what became of one of its requests. Percentages, not dollars, unless the policy says otherwise.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use serde_json::{Value, json};

use crate::control::Snapshot;
use crate::domain::standing::Standing;
use crate::domain::tenant::Tenant;
use crate::policy::budget::Budget;
use crate::policy::plan::Exposure;

use super::counting::ring_standing;
use super::exposed;
use super::identify::{RequestLine, identify};
use super::refuse::Refused;
use super::tap::Answer;
use super::{Gateway, Worker};

const PREFIX: &str = "/plimsoll/v1/";

/// Answers a path of ours; `None` for every other path.
pub(super) async fn answer(
    worker: &Worker,
    head: &Parts,
    peer: std::net::IpAddr,
) -> Option<Result<Response<Answer>, Refused>> {
    let path = head.uri.path().strip_prefix(PREFIX)?;
    if head.method != Method::GET {
        return Some(Err(Refused::not_found()));
    }
    let line = RequestLine { query: head.uri.query(), attributes: None, trusted: worker.trusts(peer) };
    let options = &worker.gateway.options;
    let caller = match identify(&options.keys, &options.attribution, &head.headers, &line) {
        Ok(caller) => caller,
        Err(stranger) => return Some(Err(Refused::stranger(stranger))),
    };
    let found = match path.strip_prefix("requests/") {
        Some(id) => request(worker, caller.tenant.as_str(), id).await,
        None if path == "quota" => Some(quota(worker, caller.tenant.as_str())),
        None => None,
    };
    Some(found.map(|value| json_response(&value)).ok_or_else(Refused::not_found))
}

fn json_response(value: &Value) -> Response<Answer> {
    let mut response = Response::new(Answer::ours(Bytes::from(value.to_string())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Every budget that has a counter for this tenant alone.
fn quota(worker: &Worker, tenant_id: &str) -> Value {
    let gateway = &worker.gateway;
    let snapshot = gateway.control.load();
    let policy = &snapshot.policy;
    let now = gateway.clock.now();
    let known = snapshot.directory.tenant(tenant_id);
    let tenant = known.or_else(|| crate::domain::tenant::TenantId::new(tenant_id).ok().map(Tenant::unknown));
    let Some(tenant) = tenant else { return json!({ "tenantId": tenant_id, "budgets": [] }) };
    let standings = gateway.standings(&snapshot, &tenant);
    let budgets: Vec<Value> = standings.iter().filter_map(|standing| exposed::quota(policy, standing, now)).collect();
    json!({ "tenantId": tenant_id, "budgets": budgets, "upgrade_url": policy.upgrade_url(&tenant) })
}

impl Gateway {
    /// Every budget that has a counter for this tenant alone, as it stands, whether or not its window was ever used.
    pub fn standings(&self, snapshot: &Snapshot, tenant: &Tenant) -> Vec<Standing> {
        let (policy, now) = (&snapshot.policy, self.clock.now());
        let own = |(at, budget): &(usize, &Budget)| {
            budget.is_per_tenant() && budget.per.len() == 1 && policy.concerns(*at, tenant)
        };
        let budgets = policy.budgets.iter().enumerate().filter(own);
        let standings = budgets.filter_map(|(at, budget)| {
            let limit = policy.limit(at, tenant, now)?;
            let counter = self.meter.find(&budget.identity, tenant.id.as_str());
            if let Some(ring) = budget.span.ring() {
                let counter = counter.unwrap_or_default();
                return Some(ring_standing(&counter, (at, budget, limit), ring, now));
            }
            let window = policy.window(at, now);
            let counter = counter.and_then(|counter| counter.present());
            let counter = counter.filter(|counter| counter.window() == window);
            let used = counter.as_ref().map_or(0, |counter| counter.cell(budget.unit).used());
            let decide_opened = counter.and_then(|counter| counter.decide_opened());
            Some(Standing { budget: at, limit, used, window, decide_opened })
        });
        standings.collect()
    }
}

/// One request of this tenant; another tenant's is as good as none.
async fn request(worker: &Worker, tenant: &str, id: &str) -> Option<Value> {
    let reader = worker.gateway.ledger.reader();
    let id = id.to_owned();
    let exposed = worker.gateway.control.load().policy.defaults.expose_to_clients;
    let shows_cost = exposed.cost == Exposure::Amount;
    let attempts = tokio::task::spawn_blocking(move || reader.request(&id)).await.ok()?.ok()?;
    let rows: Vec<Value> = attempts
        .iter()
        .filter_map(|attempt| serde_json::to_value(attempt).ok())
        .filter(|attempt| attempt["tenantId"] == tenant)
        .map(|attempt| {
            let mut public = vec![
                "request_id",
                "endpointTag",
                "promptVersion",
                "model_requested",
                "model_served",
                "status",
                "decision",
                "input_tokens",
                "output_tokens",
                "basis",
            ];
            public.extend(shows_cost.then_some("cost_nano_usd"));
            Value::Object(public.iter().map(|key| ((*key).to_owned(), attempt[*key].clone())).collect())
        })
        .collect();
    (!rows.is_empty()).then(|| json!({ "attempts": rows }))
}
