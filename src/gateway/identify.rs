//! Who is calling: the key, the tenant it may speak for, and what the call says about itself.
//!
//! Plan, segment, owner and revenue are never read from a request; a caller could otherwise promote itself.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::keys::{self, Key, KeyRing, Speaks};
use crate::domain::attribution::{Attribution, DataMode, Environment, INVALID};
use crate::domain::tenant::{TenantId, is_valid_id};

/// At most this many `plimsoll-attr-…` headers, of at most this many bytes each.
const MAX_EXTRAS: usize = 8;
const MAX_EXTRA_BYTES: usize = 128;

/// How requests are attributed, from `attribution:` in `plimsoll.yaml`.
#[derive(Debug, Clone, Default)]
pub struct AttributionRules {
    /// Other headers that may name the tenant, in order. Honoured under the same trust as `plimsoll-tenant-id`.
    pub accept_aliases: Vec<HeaderName>,
    /// Whether W3C `baggage` may name the tenant (`tenant.id`).
    pub baggage: bool,
}

/// A caller whose right to speak has been checked.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) tenant: TenantId,
    pub(super) attribution: Attribution,
    pub(super) key_name: Option<Arc<str>>,
    /// What was refused of the attribution, for `plimsoll-warning`.
    pub(super) warnings: SmallVec<[String; 1]>,
    /// The dimensions that were refused.
    pub(super) invalid: SmallVec<[&'static str; 1]>,
}

impl Caller {
    /// The user's id is one too many: the call is counted and written down without it.
    pub(super) fn drop_user(&mut self) {
        self.attribution.user_id = Some(Arc::from(INVALID));
        self.warnings.push("user-id is dropped: the tenant has named too many users today".to_owned());
        self.invalid.push("user-id");
    }
}

/// Why a caller is turned away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// No credential that we know.
    Unauthorized(&'static str),
    /// The key is bound to one tenant and the request names another.
    TenantMismatch { bound: TenantId, claimed: String },
    /// The request names two tenants.
    TwoTenants(String, String),
}

/// What else than headers tells who calls.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RequestLine<'a> {
    pub(super) query: Option<&'a str>,
    /// The text of a `/@…` prefix.
    pub(super) attributes: Option<&'a str>,
    /// Whether the caller's network is trusted to name tenants without a key.
    pub(super) trusted: bool,
}

/// Checks the caller's key and reads its attribution.
pub(super) fn identify(
    ring: &KeyRing,
    rules: &AttributionRules,
    headers: &HeaderMap,
    line: &RequestLine<'_>,
) -> Result<Caller, Stranger> {
    let key = if ring.is_empty() { None } else { Some(key_of(ring, headers, line.query)?) };
    let mut reader = Reader { headers, prefix: line.attributes, warnings: SmallVec::new(), invalid: SmallVec::new() };
    let claims = if key.is_some() || line.trusted { reader.claims(rules) } else { SmallVec::new() };
    let claimed = claims.first().cloned();
    if let Some((one, other)) = claimed.as_ref().zip(claims.iter().find(|other| **other != claims[0])) {
        return Err(Stranger::TwoTenants(one.clone(), other.clone()));
    }
    let tenant = match (key.map(|key| &key.speaks), claimed) {
        (Some(Speaks::For(bound)), Some(claimed)) if bound.as_str() != claimed => {
            return Err(Stranger::TenantMismatch { bound: bound.clone(), claimed });
        }
        (Some(Speaks::For(bound)), _) => bound.clone(),
        (_, Some(claimed)) => reader.tenant(&claimed),
        (_, None) => TenantId::unattributed(),
    };
    let attribution = reader.attribution();
    Ok(Caller {
        tenant,
        attribution,
        key_name: key.map(|key| Arc::clone(&key.name)),
        warnings: reader.warnings,
        invalid: reader.invalid,
    })
}

fn key_of<'r>(ring: &'r KeyRing, headers: &HeaderMap, query: Option<&str>) -> Result<&'r Key, Stranger> {
    let mut mistyped = false;
    let mut any = false;
    for secret in keys::presented(headers, query) {
        if let Some(key) = ring.find(secret) {
            return Ok(key);
        }
        any = true;
        mistyped |= keys::is_mistyped(secret);
    }
    Err(Stranger::Unauthorized(match (any, mistyped) {
        (_, true) => "this gateway key has a typing error: its check digits do not fit",
        (true, false) => "this key is not known to the gateway",
        (false, false) => "no gateway key: send it where the provider's key would go",
    }))
}

struct Reader<'a> {
    headers: &'a HeaderMap,
    prefix: Option<&'a str>,
    warnings: SmallVec<[String; 1]>,
    invalid: SmallVec<[&'static str; 1]>,
}

impl Reader<'_> {
    /// The value of a dimension: its header, else its attribute in the path.
    fn value(&self, header: &str, attribute: &str) -> Option<String> {
        match self.headers.get(header) {
            Some(value) => Some(String::from_utf8_lossy(value.as_bytes()).trim().to_owned()),
            None => self.attribute(attribute),
        }
        .filter(|value| !value.is_empty())
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let pairs = self.prefix?.split(';');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }

    /// Everything that names the tenant, in order of precedence.
    fn claims(&self, rules: &AttributionRules) -> SmallVec<[String; 2]> {
        let header = self.headers.get_all("plimsoll-tenant-id").iter();
        let aliases = rules.accept_aliases.iter().flat_map(|name| self.headers.get_all(name));
        let values = header.chain(aliases).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
        let baggage = if rules.baggage { self.baggage("tenant.id") } else { None };
        values.chain(self.attribute("tenantId")).chain(baggage).filter(|claim| !claim.is_empty()).collect()
    }

    fn baggage(&self, name: &str) -> Option<String> {
        let members = self.headers.get_all("baggage").iter().filter_map(|value| value.to_str().ok());
        members.flat_map(|list| list.split(',')).find_map(|member| {
            let (key, value) = member.split_once('=')?;
            let value = value.split(';').next().unwrap_or_default();
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    }

    fn tenant(&mut self, claimed: &str) -> TenantId {
        TenantId::new(claimed).unwrap_or_else(|error| {
            self.warn("tenant-id", claimed, &error.to_string());
            TenantId::new(INVALID).unwrap_or_else(|_| TenantId::unattributed())
        })
    }

    fn warn(&mut self, name: &'static str, value: &str, why: &str) {
        self.invalid.push(name);
        let shown: String =
            value.chars().filter(|c| c.is_ascii_graphic() && *c != '"' && *c != '\\').take(40).collect();
        self.warnings.push(format!("{name} \"{shown}\" is {why}"));
    }

    fn name(&mut self, header: &'static str, attribute: &str) -> Option<Arc<str>> {
        let value = self.value(header, attribute)?;
        if is_valid_id(&value) {
            return Some(Arc::from(value));
        }
        self.warn(header.trim_start_matches("plimsoll-"), &value, "not 1 to 128 plain visible characters");
        Some(Arc::from(INVALID))
    }

    fn attribution(&mut self) -> Attribution {
        let absent = Attribution::default();
        let data_mode = match self.value("plimsoll-data-mode", "dataMode") {
            None => absent.data_mode,
            Some(word) => DataMode::parse(&word).unwrap_or_else(|| {
                self.warn("data-mode", &word, "not real|test|demo");
                DataMode::Invalid
            }),
        };
        let environment = match self.value("plimsoll-environment", "environment") {
            None => absent.environment,
            Some(word) => Environment::parse(&word).unwrap_or_else(|| {
                self.warn("environment", &word, "not prod|staging|dev");
                Environment::Invalid
            }),
        };
        Attribution {
            endpoint_tag: self.name("plimsoll-endpoint-tag", "endpointTag").unwrap_or(absent.endpoint_tag),
            prompt_version: self.name("plimsoll-prompt-version", "promptVersion").unwrap_or(absent.prompt_version),
            data_mode,
            environment,
            user_id: self.name("plimsoll-user-id", "userId"),
            external_request_id: self.name("plimsoll-external-request-id", "externalRequestId"),
            workflow_id: self.name("plimsoll-workflow-id", "workflowId"),
            extras: self.extras(),
            retry_count: self.retry_count(),
        }
    }

    /// OpenAI's and Anthropic's SDKs count their attempts in this header.
    fn retry_count(&self) -> u32 {
        let value = self.headers.get("x-stainless-retry-count").and_then(|value| value.to_str().ok());
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    fn extras(&mut self) -> Vec<(Box<str>, Box<str>)> {
        let mut extras = Vec::new();
        for (name, value) in self.headers {
            let Some(short) = name.as_str().strip_prefix("plimsoll-attr-") else { continue };
            let value = value.to_str().unwrap_or_default();
            if extras.len() == MAX_EXTRAS || value.len() > MAX_EXTRA_BYTES || !value.is_ascii() {
                self.warn("attr", value, "dropped: at most 8 attributes of 128 ASCII characters each");
                continue;
            }
            extras.push((Box::from(short), Box::from(value)));
        }
        extras
    }
}
