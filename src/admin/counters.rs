//! The live counters as they are: what a policy that is not in force yet would be measured with.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::tenant::TenantId;

use super::parameters::Parameters;
use super::{CounterView, Problem, State, blocking};

/// Live counters.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Counters {
    counters: Vec<CounterView>,
}

/// Every counter in its present window.
#[utoipa::path(
    get,
    path = "/api/v1/counters",
    security(("admin_token" = [])),
    params(("tenantId" = Option<String>, Query, description = "Only this tenant's counters, and the shared ones")),
    responses((status = 200, body = Counters), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn counters(state: State, parameters: Parameters) -> Result<Json<Counters>, Problem> {
    let mut tenant = None;
    for (name, value) in parameters.0 {
        if name != "tenantId" {
            return Err(Problem::bad_request(format!("`{name}` is not a parameter: there is tenantId")));
        }
        let id = TenantId::new(&value);
        tenant = Some(id.map_err(|error| Problem::bad_request(format!("the tenant's identifier is {error}")))?);
    }
    blocking(move || Json(Counters { counters: (state.counters)(&tenant) })).await
}
