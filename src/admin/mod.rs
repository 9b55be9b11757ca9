//! The operator's window: the admin API, health and metrics, on a listener of their own.
//!
//! Everything but health, metrics and the API's own description needs the admin token, unknown paths included. It decides
//! nothing: what it shows and changes comes in through [`AdminState`]. It fetches no URL and starts no process.

mod access;
mod counters;
mod health;
mod in_doubt;
mod parameters;
mod policy;
mod problem;
mod requests;
mod serve;
mod spend;
mod tenants;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use http::header::CONTENT_TYPE;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::clock::Clock;
use crate::domain::tenant::{Tenant, TenantId};
use crate::ledger::{Evidence, LedgerReader, Settled};
use crate::telemetry::Metrics;

pub use policy::{Push, PushRefusal};
pub use problem::Problem;
pub use serve::serve;
pub use tenants::TenantRefusal;
pub use views::{BudgetView, CounterView, MarginView, PolicyView, ReloadView, SourceView, TenantView};

/// API calls that run at once; one more is told to come back.
const CALLS_AT_ONCE: usize = 64;

/// The longest an API call may take. Above the ledger's own limit for one query.
const CALL_TIME: Duration = Duration::from_secs(10);

/// The largest body: a policy.
const BODY_BYTES: usize = 1 << 20;

/// A question to the running node. It may block, and is asked from a blocking thread.
pub type Ask<T> = Box<dyn Fn() -> T + Send + Sync>;

/// A question about one thing. It may block, like [`Ask`].
pub type AskOf<Of, T> = Box<dyn Fn(&Of) -> T + Send + Sync>;

/// An order to the running node, with what it takes. It may block, like [`Ask`].
pub type Order<What, T> = Box<dyn Fn(What) -> T + Send + Sync>;

/// What the operator's window looks at and acts on. The node fills it in.
pub struct AdminState {
    /// The ledger's rows.
    pub ledger: LedgerReader,
    /// The numbers of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The admin token. An empty one opens nothing.
    pub token: SecretString,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The policy's time zone, in which months begin and dates are read.
    pub zone: Ask<TimeZone>,
    /// Every tenant of the directory, with its budgets.
    pub tenants: Ask<Vec<TenantView>>,
    /// One tenant, when the directory or a counter knows it.
    pub tenant: AskOf<TenantId, Option<TenantView>>,
    /// Creates or replaces a tenant of the admin API.
    pub put_tenant: Order<Tenant, Result<(), TenantRefusal>>,
    /// Deletes a tenant of the admin API.
    pub delete_tenant: Order<TenantId, Result<(), TenantRefusal>>,
    /// Replaces what is in doubt under a name by what the evidence says. `None`: nothing is.
    pub settle_doubt: Order<(String, Evidence), Result<Settled, String>>,
    /// The running policy.
    pub policy: Ask<PolicyView>,
    /// The live counters; with a tenant, its own and the shared ones.
    pub counters: AskOf<Option<TenantId>, Vec<CounterView>>,
    /// Validates and applies a policy, or reads the directory again.
    pub apply: Order<Push, Result<PolicyView, PushRefusal>>,
    /// Whether the data plane takes traffic.
    pub ready: Ask<bool>,
}

type State = axum::extract::State<Arc<AdminState>>;

#[derive(OpenApi)]
#[openapi(
    info(title = "Plimsoll admin API", description = "Spend, requests, tenants and policy of one gateway."),
    modifiers(&AdminToken)
)]
struct Description;

struct AdminToken;

impl Modify for AdminToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("admin_token", SecurityScheme::Http(bearer));
    }
}

/// The admin listener's routes, their limits and their lock.
pub fn router(state: AdminState) -> Router {
    let state = Arc::new(state);
    let limits = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(problem::of_limit))
        .load_shed()
        // One limit for all routes: a plain layer would give each its own.
        .layer(GlobalConcurrencyLimitLayer::new(CALLS_AT_ONCE))
        .timeout(CALL_TIME);
    let api = OpenApiRouter::new()
        .routes(routes!(spend::spend))
        .routes(routes!(requests::request))
        .routes(routes!(requests::decisions))
        .routes(routes!(tenants::tenants))
        .routes(routes!(tenants::tenant, tenants::put, tenants::delete))
        .routes(routes!(in_doubt::all))
        .routes(routes!(in_doubt::resolve))
        .routes(routes!(policy::policy, policy::apply))
        .routes(routes!(counters::counters))
        .layer(limits)
        .layer(DefaultBodyLimit::max(BODY_BYTES));
    let (router, document) = OpenApiRouter::with_openapi(Description::openapi())
        .merge(api)
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .split_for_parts();
    // As a text: the document as a tree is ten times as large, and who asks for it always wants the same.
    let document = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let document = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    router
        .route("/openapi.json", axum::routing::get(document))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&state), access::need_token))
        .with_state(state)
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a call to the admin API did not end");
        Problem::internal("the call did not end; the log says why")
    })
}
