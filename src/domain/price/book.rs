//! Finding a model's price: tables laid over one another, the newest first.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use super::{PriceError, PriceRow, litellm, yaml};
use crate::domain::model::is_release_of;

/// The built-in table. A test reads it, so the law that it can be read is kept.
static BUILTIN: LazyLock<Arc<PriceTable>> = LazyLock::new(|| {
    Arc::new(yaml::read("builtin", include_str!("builtin.yaml")).expect("the built-in table is valid"))
});

/// All prices that are known: the built-in table below the tables of `prices:`, of which a later one covers an earlier one.
#[derive(Debug, Clone)]
pub struct PriceBook {
    /// The newest first; the built-in table is the last.
    tables: Vec<Arc<PriceTable>>,
}

impl PriceBook {
    /// The built-in prices alone.
    pub fn builtin() -> Self {
        Self { tables: vec![Arc::clone(&BUILTIN)] }
    }

    /// The day of the built-in prices: `2026-11-16`.
    pub fn as_of(&self) -> &str {
        &BUILTIN.as_of
    }

    /// With the prices of a `prices.yaml` laid over. `name` becomes part of the row's id.
    pub fn with_yaml(self, name: &str, text: &str) -> Result<Self, PriceError> {
        Ok(self.covered_by(yaml::read(name, text)?))
    }

    /// With the prices of a LiteLLM price file laid over. Rows that are not priced per token are left out.
    pub fn with_litellm_json(self, name: &str, text: &str) -> Result<Self, PriceError> {
        Ok(self.covered_by(litellm::read(name, text)?))
    }

    fn covered_by(mut self, table: PriceTable) -> Self {
        self.tables.insert(0, Arc::new(table));
        self
    }

    /// The price of `model` at `provider` (its name in `plimsoll.yaml`), which is of `family`. In each table, the newest
    /// first: the name itself, then the aliases, then the model that `model` is a dated release of.
    pub fn find(&self, provider: &str, family: &str, model: &str) -> Option<&Arc<PriceRow>> {
        let model = bare(model);
        self.tables.iter().find_map(|table| table.find(provider, family, model))
    }

    /// Every row, the newest table first. A row may be covered by an earlier one.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<PriceRow>> {
        self.tables.iter().flat_map(|table| table.rows.values().flatten())
    }
}

/// Gemini and Vertex name models by path.
fn bare(model: &str) -> &str {
    model.strip_prefix("models/").or_else(|| model.strip_prefix("publishers/google/models/")).unwrap_or(model)
}

type Rows = SmallVec<[Arc<PriceRow>; 1]>;

/// One file of prices.
#[derive(Debug, Default)]
pub(super) struct PriceTable {
    /// The day of the prices, as the file says.
    as_of: String,
    rows: HashMap<Box<str>, Rows>,
    /// Aliases without a star.
    names: HashMap<Box<str>, Rows>,
    /// Aliases with a star, the longest first.
    globs: Vec<(Box<str>, Arc<PriceRow>)>,
}

impl PriceTable {
    pub(super) fn dated(as_of: String) -> Self {
        Self { as_of, ..Self::default() }
    }

    pub(super) fn add(&mut self, row: PriceRow, aliases: &[String]) {
        let row = Arc::new(row);
        for alias in aliases {
            if alias.contains('*') {
                let place = self.globs.partition_point(|(glob, _)| glob.len() >= alias.len());
                self.globs.insert(place, (Box::from(alias.as_str()), Arc::clone(&row)));
            } else {
                self.names.entry(Box::from(alias.as_str())).or_default().push(Arc::clone(&row));
            }
        }
        self.rows.entry(Box::from(&*row.model)).or_default().push(row);
    }

    fn find(&self, provider: &str, family: &str, model: &str) -> Option<&Arc<PriceRow>> {
        let asked = Asked { provider, family };
        asked
            .among(self.rows.get(model))
            .or_else(|| asked.among(self.names.get(model)))
            .or_else(|| self.by_glob(asked, model))
            .or_else(|| self.by_release(asked, model))
    }

    fn by_glob(&self, asked: Asked<'_>, model: &str) -> Option<&Arc<PriceRow>> {
        self.globs.iter().find(|(glob, row)| asked.fit(row) > 0 && matches(glob, model)).map(|(_, row)| row)
    }

    /// A release is a name and a suffix that begins with `-` or `@`, so a handful of cuts cover all names it may belong to;
    /// the longest name comes first.
    fn by_release(&self, asked: Asked<'_>, model: &str) -> Option<&Arc<PriceRow>> {
        let cuts = model.rmatch_indices(['-', '@']).map(|(at, _)| &model[..at]);
        cuts.filter(|name| is_release_of(model, name))
            .find_map(|name| asked.among(self.rows.get(name)).or_else(|| asked.among(self.names.get(name))))
    }
}

/// Whose price is wanted.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    provider: &'a str,
    family: &'a str,
}

impl Asked<'_> {
    /// How well a row fits: 3 for this provider, 2 for its family, 1 for anybody, 0 for somebody else.
    fn fit(self, row: &PriceRow) -> u8 {
        match row.provider.as_deref() {
            Some(provider) if provider == self.provider => 3,
            Some(provider) if provider == self.family => 2,
            Some(_) => 0,
            None => 1,
        }
    }

    fn among(self, rows: Option<&Rows>) -> Option<&Arc<PriceRow>> {
        rows?.iter().filter(|row| self.fit(row) > 0).max_by_key(|row| self.fit(row))
    }
}

/// Whether `text` matches `glob`, in which `*` stands for anything.
fn matches(glob: &str, text: &str) -> bool {
    let Some((head, mut glob)) = glob.split_once('*') else { return glob == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    while let Some((part, rest)) = glob.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
        glob = rest;
    }
    text.ends_with(glob)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        for (glob, text) in [("*", ""), ("a*", "a"), ("a*c", "abc"), ("*b*", "abc"), ("a*b*c", "a-b-b-c"), ("x", "x")] {
            assert!(matches(glob, text), "{glob} {text}");
        }
        for (glob, text) in [("a*", "b"), ("a*a", "a"), ("a*b*c", "acb"), ("x", "xy"), ("*b", "ba")] {
            assert!(!matches(glob, text), "{glob} {text}");
        }
    }
}
