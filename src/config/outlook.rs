//! What a policy needs to know of `plimsoll.yaml`: where policies and the ledger are, who may be told, what models cost.
//!
//! No secret is read for it, so a policy can be checked where none is set: a variable counts only in the values that are used
//! here. Everything else of the file is left to [`Settings`](super::Settings).

use std::path::{Path, PathBuf};

use crate::control::Broken;
use crate::diagnostic::{Diagnostic, Source, has_errors};
use crate::domain::price::PriceBook;
use crate::policy::reader::{Fields, Problems, expect_map};
use crate::policy::tree::{self, Kind, Node};

use super::Boot;
use super::expand::{Environment, expanded, silence_consequences};

/// The surroundings of a policy, as the boot configuration says.
#[derive(Debug)]
pub struct Outlook {
    /// The policies' folder.
    pub policies: PathBuf,
    /// The ledger's file.
    pub ledger: PathBuf,
    /// The names under `notify:`.
    pub notify_targets: Vec<String>,
    /// The tariff.
    pub prices: PriceBook,
}

impl Outlook {
    /// Reads a boot configuration.
    pub fn load(file: &Path, environment: &Environment<'_>) -> Result<Self, Broken> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| Broken {
            diagnostics: vec![Diagnostic::error("E001", format!("`{name}` cannot be read: {error}"))],
            sources: Vec::new(),
        })?;
        let source = Source::new(&name, &text);
        let tree = tree::read(&source);
        let mut problems = tree.diagnostics;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let root = tree.root.unwrap_or(Node { place: source.start(), end_line: 1, kind: Kind::Map(Vec::new()) });
        let outlook = Self::read(&root, folder, environment, &mut problems);
        silence_consequences(&mut problems);
        outlook.filter(|_| !has_errors(&problems)).ok_or(Broken { diagnostics: problems, sources: vec![source] })
    }

    fn read(root: &Node, folder: &Path, environment: &Environment<'_>, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(root, "the configuration", problems)?;
        let mut value = |name, problems: &mut Problems| {
            fields.value(name).map(|node: &Node| expanded(node.clone(), environment, problems))
        };
        let (policies, ledger) = (value("policies", problems), value("ledger", problems));
        let prices = value("prices", problems);
        let notify = fields.value("notify").and_then(|node| expect_map(node, "`notify`", problems));
        let mut boot = Boot { folder, environment, problems };
        Some(Self {
            policies: boot.path(policies.as_ref(), "policies", "policies"),
            ledger: boot.ledger(ledger.as_ref()),
            notify_targets: notify.unwrap_or_default().into_iter().map(|(key, _)| key.text.clone()).collect(),
            prices: boot.prices(prices.as_ref()),
        })
    }
}
