//! A folder of policies, for the verbs that look at files: read once, compiled for any moment.

use std::path::Path;

use crate::control::folder::Files;
use crate::control::{directory, model_facts, price_table};
use crate::diagnostic::{self, Diagnostic, Source};
use crate::directory::Directory;
use crate::domain::clock::Timestamp;
use crate::domain::price::PriceBook;
use crate::policy::{self, Compiled, ModelFacts, Policy};

/// What a folder holds, and the tariff it is read with.
pub(super) struct Folder {
    pub(super) files: Files,
    prices: PriceBook,
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

    /// With another tariff than the built-in one.
    pub(super) fn priced_by(self, prices: PriceBook) -> Self {
        Self { prices, ..self }
    }

    /// The policy as it is at a moment, or its mistakes as a text.
    pub(super) fn valid_policy(&self, now: Timestamp) -> Result<Policy, String> {
        compiled(&self.files.policies, &self.prices, now)
            .map_err(|errors| diagnostic::render(&errors, &self.files.sources()))
    }

    /// What becomes of the policies at a moment.
    pub(super) fn compiled(&self, now: Timestamp) -> Compiled {
        self.compiled_from(&self.files.policies, now)
    }

    /// What becomes of other texts in their place.
    pub(super) fn compiled_from(&self, sources: &[Source], now: Timestamp) -> Compiled {
        compile(sources, &self.prices, now)
    }

    /// The tenants of `tenants.csv`, or the mistakes in it as a text.
    pub(super) fn tenants(&self, policy: &Policy) -> Result<Directory, String> {
        let (tenants, found) = directory(&self.files, Some(policy));
        let errors: Vec<Diagnostic> = found.into_iter().filter(Diagnostic::is_error).collect();
        if errors.is_empty() { Ok(tenants) } else { Err(diagnostic::render(&errors, &self.files.sources())) }
    }

    /// What the tariff says about a model.
    pub(super) fn model(&self, name: &str) -> Option<ModelFacts> {
        model_facts(&self.prices, name)
    }
}

/// The policy of these texts at a moment, or its mistakes.
pub(super) fn compiled(sources: &[Source], prices: &PriceBook, now: Timestamp) -> Result<Policy, Vec<Diagnostic>> {
    let compiled = compile(sources, prices, now);
    let errors = || compiled.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    compiled.policy.ok_or_else(errors)
}

fn compile(sources: &[Source], prices: &PriceBook, now: Timestamp) -> Compiled {
    let facts = |model: &str| model_facts(prices, model);
    let price_table = price_table(prices);
    let surroundings = policy::Surroundings { prices: &facts, price_table: &price_table, notify_targets: &[], now };
    policy::compile(sources, &surroundings)
}
