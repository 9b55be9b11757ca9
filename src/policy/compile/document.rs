//! The files of a policy directory laid over each other: one list of entries per section.

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Place};
use crate::policy::reader::{Entry, Fields, Problems, expect_list, expect_map};
use crate::policy::tree::{Kind, Node};

/// The sections, over all files. A name that two files define is a mistake, and the first of them counts.
#[derive(Debug, Default)]
pub(super) struct Document<'t> {
    pub(super) version: Option<&'t Node>,
    pub(super) mode: Option<&'t Node>,
    pub(super) currency: Option<&'t Node>,
    pub(super) timezone: Option<&'t Node>,
    pub(super) exchange: Vec<Entry<'t>>,
    pub(super) defaults: Vec<Entry<'t>>,
    pub(super) plans: Vec<Entry<'t>>,
    pub(super) segments: Vec<Entry<'t>>,
    pub(super) endpoints: Vec<Entry<'t>>,
    pub(super) routes: Vec<Entry<'t>>,
    pub(super) budgets: Vec<Entry<'t>>,
    pub(super) escalations: Vec<Entry<'t>>,
    pub(super) exceptions: Vec<&'t Node>,
    pub(super) alerts: Vec<Entry<'t>>,
    pub(super) margin: Vec<Entry<'t>>,
}

impl<'t> Document<'t> {
    pub(super) fn merge(roots: &[&'t Node], problems: &mut Problems) -> Self {
        let mut document = Self::default();
        for root in roots {
            if let Some(fields) = Fields::of(root, "the policy", problems) {
                document.add(fields, problems);
            }
        }
        document
    }

    fn add(&mut self, mut fields: Fields<'t>, problems: &mut Problems) {
        once(&mut self.version, &mut fields, "version", problems);
        once(&mut self.mode, &mut fields, "mode", problems);
        once(&mut self.currency, &mut fields, "currency", problems);
        once(&mut self.timezone, &mut fields, "timezone", problems);
        section(&mut self.exchange, &mut fields, "exchange", problems);
        section(&mut self.defaults, &mut fields, "defaults", problems);
        section(&mut self.plans, &mut fields, "plans", problems);
        section(&mut self.segments, &mut fields, "segments", problems);
        section(&mut self.endpoints, &mut fields, "endpoints", problems);
        section(&mut self.routes, &mut fields, "routes", problems);
        section(&mut self.budgets, &mut fields, "budgets", problems);
        section(&mut self.escalations, &mut fields, "escalations", problems);
        if let Some(node) = fields.value("exceptions").filter(|node| node.kind != Kind::Null) {
            self.exceptions.extend(expect_list(node, "`exceptions`", problems).unwrap_or_default());
        }
        section(&mut self.alerts, &mut fields, "alerts", problems);
        section(&mut self.margin, &mut fields, "margin", problems);
        fields.finish("not a key of a policy", problems);
    }

    /// `version` and `mode` must be said: a policy that enforces by accident is worse than one that does not load.
    pub(super) fn require_head(&self, start: &Place, problems: &mut Problems) {
        match self.version.map(|node| (node, &node.kind)) {
            None => problems.push(missing("version", "version: 1", start)),
            Some((_, Kind::Scalar { text, quoted: false })) if text == "1" => {}
            Some((node, _)) => {
                let fault = Diagnostic::error("E111", "this version of the policy language is not known");
                problems.push(fault.at(&node.place, "").help("write `version: 1`"));
            }
        }
        if self.mode.is_none() {
            problems.push(missing("mode", "mode: dry_run", start));
        }
    }
}

fn missing(name: &str, line: &str, start: &Place) -> Diagnostic {
    let fault = Diagnostic::error("E105", format!("the policy has no `{name}`")).at(start, "");
    fault.help(format!("add the line `{line}` at the top"))
}

fn once<'t>(slot: &mut Option<&'t Node>, fields: &mut Fields<'t>, name: &'static str, problems: &mut Problems) {
    let Some(node) = fields.value(name) else { return };
    match slot {
        None => *slot = Some(node),
        Some(first) if first.kind == node.kind => {}
        Some(first) => {
            let fault = Diagnostic::error("E103", format!("`{name}` differs between files")).at(&node.place, "here");
            problems.push(fault.see(&first.place, "and here").help("keep one of the two"));
        }
    }
}

fn section<'t>(into: &mut Vec<Entry<'t>>, fields: &mut Fields<'t>, name: &'static str, problems: &mut Problems) {
    let Some(node) = fields.value(name).filter(|node| node.kind != Kind::Null) else { return };
    let entries = expect_map(node, &format!("`{name}`"), problems).unwrap_or_default();
    let mut known: HashMap<&str, &Place> = into.iter().map(|(key, _)| (key.text.as_str(), &key.place)).collect();
    for (key, value) in entries {
        if let Some(first) = known.get(key.text.as_str()) {
            let fault = Diagnostic::error("E103", format!("`{}` is given twice in `{name}`", key.text));
            let fault = fault.at(&key.place, "again here").see(first, "first given here");
            problems.push(fault.help("give one of the two another name, or delete it"));
            continue;
        }
        known.insert(&key.text, &key.place);
        into.push((key, value));
    }
}
