//! An attempt as it was read back: every column, as JSON has it. Dimensions are in camel case, the rest in snake case, as
//! everywhere in the admin API.

use rusqlite::Row;
use serde::Serialize;

use crate::domain::clock::Timestamp;

/// One row of the ledger. Absent means unknown; it never means zero.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `LedgerEntry`, under the names of the admin API")]
pub struct StoredAttempt {
    pub attempt_id: String,
    pub request_id: String,
    /// RFC 3339, UTC.
    pub admitted_at: String,
    #[serde(rename = "tenantId")]
    pub tenant_id: String,
    pub plan: Option<String>,
    pub segment: Option<String>,
    #[serde(rename = "endpointTag")]
    pub endpoint_tag: String,
    #[serde(rename = "promptVersion")]
    pub prompt_version: String,
    #[serde(rename = "dataMode")]
    pub data_mode: String,
    pub environment: String,
    #[serde(rename = "userId")]
    pub user_id: Option<String>,
    #[serde(rename = "externalRequestId")]
    pub external_request_id: Option<String>,
    #[serde(rename = "workflowId")]
    pub workflow_id: Option<String>,
    /// The caller's own attributes (`plimsoll-attr-…`), an object.
    pub attributes: serde_json::Value,
    pub retry_count: u32,
    /// The gateway key's name.
    pub key: Option<String>,
    pub provider: String,
    pub dialect: String,
    pub path: String,
    pub model_requested: Option<String>,
    pub model_served: Option<String>,
    pub model_answered: Option<String>,
    pub stream: bool,
    pub logical: bool,
    pub input_tokens: Option<i64>,
    pub cached_input_tokens: Option<i64>,
    pub cache_write_tokens: Option<i64>,
    pub cache_write_1h_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub basis: String,
    pub price_row: Option<String>,
    /// Nano-dollars; absent when the model is unpriced.
    pub cost_nano_usd: Option<i64>,
    pub status: u16,
    pub ending: String,
    pub decision: String,
    pub would: String,
    pub policy: String,
    pub overhead_us: i64,
    pub first_byte_us: Option<i64>,
    pub duration_us: i64,
    /// The `attempt_id` of the row that this one corrects; absent for attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjusts: Option<String>,
    /// Who corrected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// On what evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When. RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjusted_at: Option<String>,
}

impl StoredAttempt {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let attributes: Option<String> = row.get("attributes")?;
        Ok(Self {
            attempt_id: row.get("attempt_id")?,
            request_id: row.get("request_id")?,
            admitted_at: Timestamp::from_micros(row.get("admitted_at")?).to_string(),
            tenant_id: row.get("tenant_id")?,
            plan: row.get("plan")?,
            segment: row.get("segment")?,
            endpoint_tag: row.get("endpoint_tag")?,
            prompt_version: row.get("prompt_version")?,
            data_mode: row.get("data_mode")?,
            environment: row.get("environment")?,
            user_id: row.get("user_id")?,
            external_request_id: row.get("external_request_id")?,
            workflow_id: row.get("workflow_id")?,
            attributes: attributes
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_else(|| serde_json::json!({})),
            retry_count: row.get("retry_count")?,
            key: row.get("key_name")?,
            provider: row.get("provider")?,
            dialect: row.get("dialect")?,
            path: row.get("path")?,
            model_requested: row.get("model_requested")?,
            model_served: row.get("model_served")?,
            model_answered: row.get("model_answered")?,
            stream: row.get("stream")?,
            logical: row.get("logical")?,
            input_tokens: row.get("input_tokens")?,
            cached_input_tokens: row.get("cached_input_tokens")?,
            cache_write_tokens: row.get("cache_write_tokens")?,
            cache_write_1h_tokens: row.get("cache_write_1h_tokens")?,
            output_tokens: row.get("output_tokens")?,
            reasoning_tokens: row.get("reasoning_tokens")?,
            basis: row.get("basis")?,
            price_row: row.get("price_row")?,
            cost_nano_usd: row.get("cost_nano_usd")?,
            status: row.get("status")?,
            ending: row.get("ending")?,
            decision: row.get("decision")?,
            would: row.get("would")?,
            policy: row.get("policy")?,
            overhead_us: row.get("overhead_us")?,
            first_byte_us: row.get("first_byte_us")?,
            duration_us: row.get("duration_us")?,
            adjusts: row.get("adjusts")?,
            actor: row.get("actor")?,
            reason: row.get("reason")?,
            adjusted_at: row.get::<_, Option<i64>>("adjusted_at")?.map(|at| Timestamp::from_micros(at).to_string()),
        })
    }
}
