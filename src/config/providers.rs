//! Providers: the three that exist by default, and those that the file adds or changes.

use std::sync::Arc;

use http::HeaderValue;

use crate::diagnostic::Diagnostic;
use crate::gateway::Providers;
use crate::gateway::upstream::{Origin, Provider};
use crate::policy::reader::{Fields, expect_bool, expect_map, expect_str, expect_word};
use crate::policy::tree::Node;
use crate::wire::Family;
use crate::wire::charge::billing;

use super::Boot;

/// Name, family, base URL, and the variable that may hold its key.
const DEFAULTS: [(&str, Family, &str, &str); 3] = [
    ("openai", Family::OpenAi, "https://api.openai.com", "OPENAI_API_KEY"),
    ("anthropic", Family::Anthropic, "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    ("gemini", Family::Gemini, "https://generativelanguage.googleapis.com", "GEMINI_API_KEY"),
];

/// Names that paths of our own use.
const RESERVED: [&str; 4] = ["plimsoll", "v1", "v1beta", "healthz"];

impl Boot<'_> {
    /// Every provider. With gateway keys, one without a credential of its own is an error where the file names it, and left
    /// out where it is a default.
    pub(super) fn providers(&mut self, node: Option<&Node>, own_keys: bool) -> Providers {
        let mut providers = Providers::default();
        for (name, family, base_url, variable) in DEFAULTS {
            let key = (self.environment)(variable).filter(|key| !key.is_empty());
            let credential = key.and_then(|key| credential(family, &key));
            let Ok(origin) = Origin::parse(base_url) else { continue };
            if credential.is_some() || !own_keys {
                let name: Arc<str> = Arc::from(name);
                let billing = billing(origin.host());
                let bills_after_cancel = billing.after_cancel;
                let provider =
                    Provider { name: Arc::clone(&name), family, origin, credential, bills_after_cancel, billing };
                providers.insert(name, Arc::new(provider));
            }
        }
        let entries = node.and_then(|node| expect_map(node, "`providers`", self.problems)).unwrap_or_default();
        for (key, value) in entries {
            if RESERVED.contains(&key.text.as_str()) || !is_name(&key.text) {
                let fault = Diagnostic::error("E030", format!("`{}` cannot name a provider", key.text));
                self.problems.push(fault.at(&key.place, "").help("use lower-case letters, digits, `-` and `_`"));
                continue;
            }
            if let Some(provider) = self.provider(&key.text, value, own_keys) {
                providers.insert(Arc::clone(&provider.name), Arc::new(provider));
            }
        }
        providers
    }

    fn provider(&mut self, name: &str, node: &Node, own_keys: bool) -> Option<Provider> {
        let mut fields = Fields::of(node, format!("provider `{name}`"), self.problems)?;
        let dialect = fields.required("dialect", "openai", self.problems);
        let words = Family::ALL.map(|family| (family.as_str(), family));
        let family = dialect.and_then(|node| expect_word(node, "`dialect`", &words, self.problems));
        let base_url = fields.required("base_url", "\"https://api.example.com\"", self.problems);
        let api_key = fields.value("api_key");
        let cancel = fields.value("bills_after_cancel");
        let place = fields.place().clone();
        fields.finish("not a provider key", self.problems);
        let origin = base_url.and_then(|node| {
            let url = expect_str(node, "`base_url`", self.problems)?;
            Origin::parse(url)
                .map_err(|error| self.problems.push(Diagnostic::error("E031", error).at(&node.place, "")))
                .ok()
        });
        let cancel = cancel.and_then(|node| expect_bool(node, "`bills_after_cancel`", self.problems));
        let family = family?;
        let key = api_key.and_then(|node| expect_str(node, "`api_key`", self.problems));
        let credential = key.and_then(|key| credential(family, key));
        if own_keys && credential.is_none() {
            let fault = Diagnostic::error("E032", format!("provider `{name}` has no `api_key`"));
            let fault = fault.at(&place, "callers' credentials never go upstream when there are gateway keys");
            self.problems.push(fault.help(format!("add `api_key: \"${{{}_API_KEY}}\"`", name.to_uppercase())));
        }
        let origin = origin?;
        let billing = billing(origin.host());
        Some(Provider {
            name: Arc::from(name),
            family,
            origin,
            credential,
            bills_after_cancel: cancel.unwrap_or(billing.after_cancel),
            billing,
        })
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
}

/// The header value that carries a key. Marked sensitive, so that no log shows it.
fn credential(family: Family, key: &str) -> Option<HeaderValue> {
    let text = if family == Family::OpenAi { format!("Bearer {key}") } else { key.to_owned() };
    let mut value = HeaderValue::from_str(&text).ok().filter(|_| !key.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}
