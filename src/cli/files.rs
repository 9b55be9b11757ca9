//! A folder of policies, for the verbs that look at files alone: read once, compiled for any moment.

use std::path::Path;

use crate::control::folder::Files;
use crate::control::{model_facts, price_table};
use crate::diagnostic::{self, Diagnostic};
use crate::domain::clock::Timestamp;
use crate::domain::price::PriceBook;
use crate::policy::{self, ModelFacts, Policy};

/// What a folder holds, and the tariff it is read with.
pub(super) struct Folder {
    pub(super) files: Files,
    pub(super) prices: PriceBook,
}

impl Folder {
    /// Reads a folder that must hold a policy.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let files = Files::read(path).map_err(|diagnostic| diagnostic.one_line())?;
        if files.policies.is_empty() {
            return Err(format!("error: `{}` holds no policy (*.yaml)", path.display()));
        }
        Ok(Self { files, prices: PriceBook::builtin() })
    }

    /// The policy as it is at a moment, or its mistakes.
    pub(super) fn policy(&self, now: Timestamp) -> Result<Policy, Vec<Diagnostic>> {
        let facts = |model: &str| self.model(model);
        let price_table = price_table(&self.prices);
        let surroundings = policy::Surroundings { prices: &facts, price_table: &price_table, notify_targets: &[], now };
        let compiled = policy::compile(&self.files.policies, &surroundings);
        let errors = || compiled.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
        compiled.policy.ok_or_else(errors)
    }

    /// The same, its mistakes as a text.
    pub(super) fn valid_policy(&self, now: Timestamp) -> Result<Policy, String> {
        self.policy(now).map_err(|errors| diagnostic::render(&errors, &self.files.sources()))
    }

    /// What the tariff says about a model.
    pub(super) fn model(&self, name: &str) -> Option<ModelFacts> {
        model_facts(&self.prices, name)
    }
}
