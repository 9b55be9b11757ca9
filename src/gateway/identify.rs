//! Who is calling: the key, the tenant it may speak for, and what the call says about itself.
//!
//! Plan, segment, owner and revenue are never read from a request; a caller could otherwise promote itself.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::keys::{self, Key, KeyRing, Speaks};
use crate::domain::attribution::{Attribution, DataMode, Environment, INVALID, UNTAGGED, UNVERSIONED};
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
    /// How many attempts came before, when the caller's SDK says so at all.
    pub(super) retries: Option<u32>,
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

    /// The workflow's id is one too many: the call belongs to none, or all of them would use up one budget together.
    pub(super) fn drop_workflow(&mut self) {
        self.attribution.workflow_id = None;
        self.warnings.push("workflow-id is dropped: the tenant has named too many workflows today".to_owned());
        self.invalid.push("workflow-id");
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
    let mut reader = Reader {
        headers,
        prefix: line.attributes,
        said: Said::of(headers),
        warnings: SmallVec::new(),
        invalid: SmallVec::new(),
    };
    let claims = if key.is_some() || line.trusted { reader.claims(rules) } else { SmallVec::new() };
    let claimed = claims.first().cloned();
    if let Some((one, other)) = claimed.as_ref().zip(claims.iter().find(|other| **other != claims[0])) {
        return Err(Stranger::TwoTenants(one.to_string(), other.to_string()));
    }
    let tenant = match (key.map(|key| &key.speaks), claimed) {
        (Some(Speaks::For(bound)), Some(claimed)) if bound.as_str() != claimed => {
            return Err(Stranger::TenantMismatch { bound: bound.clone(), claimed: claimed.into_owned() });
        }
        (Some(Speaks::For(bound)), _) => bound.clone(),
        (_, Some(claimed)) => reader.tenant(&claimed),
        (_, None) => TenantId::unattributed(),
    };
    let attribution = reader.attribution();
    Ok(Caller {
        tenant,
        attribution,
        retries: reader.said.retries,
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
    said: Said<'a>,
    warnings: SmallVec<[String; 1]>,
    invalid: SmallVec<[&'static str; 1]>,
}

/// What the prefix of every header of ours is.
const OURS: &str = "plimsoll-";

/// The dimensions that a header or an attribute of the path may state.
#[derive(Debug, Clone, Copy)]
enum Stated {
    DataMode,
    Environment,
    EndpointTag,
    PromptVersion,
    UserId,
    ExternalRequestId,
    WorkflowId,
}

/// Their headers, without the prefix of ours, and their attributes.
const STATED: [(&str, &str); 7] = [
    ("data-mode", "dataMode"),
    ("environment", "environment"),
    ("endpoint-tag", "endpointTag"),
    ("prompt-version", "promptVersion"),
    ("user-id", "userId"),
    ("external-request-id", "externalRequestId"),
    ("workflow-id", "workflowId"),
];

/// The headers that speak of the call, found in one pass: looking up each by its name would cost a hash for every one that
/// is not there.
#[derive(Default)]
struct Said<'a> {
    stated: [Option<&'a HeaderValue>; STATED.len()],
    tenants: SmallVec<[&'a HeaderValue; 1]>,
    extras: SmallVec<[(&'a str, &'a HeaderValue); 2]>,
    /// OpenAI's and Anthropic's SDKs count their attempts in `x-stainless-retry-count`.
    retries: Option<u32>,
}

impl<'a> Said<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            if let Some(own) = name.strip_prefix(OURS) {
                said.hear(own, value);
            } else if name == "x-stainless-retry-count" && said.retries.is_none() {
                said.retries = Some(value.to_str().ok().and_then(|count| count.parse().ok()).unwrap_or(0));
            }
        }
        said
    }

    fn hear(&mut self, name: &'a str, value: &'a HeaderValue) {
        if name == "tenant-id" {
            self.tenants.push(value);
        } else if let Some(at) = STATED.iter().position(|(header, _)| *header == name) {
            self.stated[at].get_or_insert(value);
        } else if let Some(short) = name.strip_prefix("attr-") {
            self.extras.push((short, value));
        }
    }
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    match String::from_utf8_lossy(value.as_bytes()) {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

impl<'a> Reader<'a> {
    /// The value of a dimension: its header, else its attribute in the path.
    fn value(&self, dimension: Stated) -> Option<Cow<'a, str>> {
        let at = dimension as usize;
        match self.said.stated[at] {
            Some(value) => Some(text(value)),
            None => self.attribute(STATED[at].1).map(Cow::Borrowed),
        }
        .filter(|value| !value.is_empty())
    }

    fn attribute(&self, name: &str) -> Option<&'a str> {
        let pairs = self.prefix?.split(';');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Everything that names the tenant, in order of precedence.
    fn claims(&self, rules: &AttributionRules) -> SmallVec<[Cow<'a, str>; 2]> {
        let aliases = rules.accept_aliases.iter().flat_map(|name| self.headers.get_all(name));
        let values = self.said.tenants.iter().copied().chain(aliases).map(text);
        let baggage = if rules.baggage { self.baggage("tenant.id") } else { None };
        let elsewhere = self.attribute("tenantId").into_iter().chain(baggage).map(Cow::Borrowed);
        values.chain(elsewhere).filter(|claim| !claim.is_empty()).collect()
    }

    fn baggage(&self, name: &str) -> Option<&'a str> {
        let members = self.headers.get_all("baggage").iter().filter_map(|value| value.to_str().ok());
        members.flat_map(|list| list.split(',')).find_map(|member| {
            let (key, value) = member.split_once('=')?;
            let value = value.split(';').next().unwrap_or_default();
            (key.trim() == name).then(|| value.trim())
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

    fn name(&mut self, dimension: Stated) -> Option<Arc<str>> {
        let value = self.value(dimension)?;
        if is_valid_id(&value) {
            return Some(Arc::from(&*value));
        }
        self.warn(STATED[dimension as usize].0, &value, "not 1 to 128 plain visible characters");
        Some(Arc::from(INVALID))
    }

    fn attribution(&mut self) -> Attribution {
        let data_mode = match self.value(Stated::DataMode) {
            None => DataMode::default(),
            Some(word) => DataMode::parse(&word).unwrap_or_else(|| {
                self.warn("data-mode", &word, "not real|test|demo");
                DataMode::Invalid
            }),
        };
        let environment = match self.value(Stated::Environment) {
            None => Environment::default(),
            Some(word) => Environment::parse(&word).unwrap_or_else(|| {
                self.warn("environment", &word, "not prod|staging|dev");
                Environment::Invalid
            }),
        };
        Attribution {
            endpoint_tag: self.name(Stated::EndpointTag).unwrap_or_else(|| Arc::from(UNTAGGED)),
            prompt_version: self.name(Stated::PromptVersion).unwrap_or_else(|| Arc::from(UNVERSIONED)),
            data_mode,
            environment,
            user_id: self.name(Stated::UserId),
            external_request_id: self.name(Stated::ExternalRequestId),
            workflow_id: self.name(Stated::WorkflowId),
            extras: self.extras(),
            retry_count: self.said.retries.unwrap_or(0),
        }
    }

    fn extras(&mut self) -> Vec<(Box<str>, Box<str>)> {
        let mut extras = Vec::new();
        for (name, value) in std::mem::take(&mut self.said.extras) {
            let value = value.to_str().unwrap_or_default();
            if extras.len() == MAX_EXTRAS || value.len() > MAX_EXTRA_BYTES || !value.is_ascii() {
                self.warn("attr", value, "dropped: at most 8 attributes of 128 ASCII characters each");
                continue;
            }
            extras.push((Box::from(name), Box::from(value)));
        }
        extras
    }
}
