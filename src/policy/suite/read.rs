//! A file of tests as a tree, and what it asks for: strict keys, names that the policy defines.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Source};
use crate::domain::clock::Timestamp;
use crate::domain::tenant::Tenant;
use crate::policy::Written;
use crate::policy::hypothesis::read::{Reader, Usages, text};
use crate::policy::reader::{Fields, Problems, expect_list};
use crate::policy::tree::{self, Kind, Node};

use super::{Case, Suite, Test, expect};

pub(super) fn suite(source: &Source, reader: &Reader<'_>) -> Result<Suite, Vec<Diagnostic>> {
    let tree = tree::read(source);
    let mut problems = tree.diagnostics;
    let mut tests = Vec::new();
    match &tree.root {
        None if problems.is_empty() => {
            problems.push(Diagnostic::error("E105", "the file holds no tests").at(&source.start(), ""));
        }
        None => {}
        Some(root) => {
            if let Some(mut fields) = Fields::of(root, "the file of tests", &mut problems) {
                let list = fields.required("tests", "[ … ]", &mut problems);
                let list = list.and_then(|node| expect_list(node, "`tests`", &mut problems)).unwrap_or_default();
                tests = list.into_iter().filter_map(|node| test(node, reader, &mut problems)).collect();
                fields.finish("not a key of a file of tests", &mut problems);
            }
        }
    }
    if problems.is_empty() { Ok(Suite { file: Arc::clone(&source.name), tests }) } else { Err(problems) }
}

/// What the cases of a test share.
struct Given {
    at: Option<Timestamp>,
    /// Whether the test says when, if only by a mistake.
    says_when: bool,
    tenant: Tenant,
    usages: Usages,
}

fn test(node: &Node, reader: &Reader<'_>, problems: &mut Problems) -> Option<Test> {
    let mut fields = Fields::of(node, "a test", problems)?;
    let name = fields.required("name", "what is claimed", problems);
    let name = name.and_then(|node| text(node, "`name`", problems));
    let at_node = fields.value("at");
    let at = at_node.and_then(|node| reader.moment(node, problems));
    let tenant = fields.required("tenant", "{ tenantId: globex }", problems);
    let tenant = tenant.and_then(|node| tenant_and_usages(node, reader, problems));
    let cases_node = fields.required("cases", "[{ request: { … }, expect: { … } }]", problems);
    fields.finish("not a key of a test", problems);
    let (tenant, usages) = tenant?;
    let given = Given { at, says_when: at_node.is_some(), tenant, usages };
    let nodes = expect_list(cases_node?, "`cases`", problems)?;
    if nodes.is_empty() {
        problems
            .push(Diagnostic::error("E106", "this test has no cases, so it claims nothing").at(&cases_node?.place, ""));
    }
    let cases = nodes.into_iter().filter_map(|node| case(node, &given, reader, problems)).collect();
    Some(Test { name: name?, written: Written::from(&node.place), cases })
}

fn tenant_and_usages(node: &Node, reader: &Reader<'_>, problems: &mut Problems) -> Option<(Tenant, Usages)> {
    let mut fields = Fields::of(node, "the tenant", problems)?;
    let tenant = reader.tenant(&mut fields, problems);
    let usages = reader.usages(&mut fields, problems);
    fields.finish("not a key of a tenant", problems);
    Some((tenant?, usages))
}

fn case(node: &Node, given: &Given, reader: &Reader<'_>, problems: &mut Problems) -> Option<Case> {
    let mut fields = Fields::of(node, "a case", problems)?;
    let at_node = fields.value("at");
    let at = at_node.and_then(|node| reader.moment(node, problems)).or(given.at);
    if !given.says_when && at_node.is_none() {
        let fault = Diagnostic::error("E105", "neither the case nor its test has `at`").at(&node.place, "");
        problems.push(fault.help("add `at: 2026-11-25 10:14` to the test: its clock stands still"));
    }
    let mut usages = given.usages.clone();
    usages.extend(reader.usages(&mut fields, problems));
    let request = fields.required("request", "{ endpointTag: support.reply, model: gpt-4o }", problems);
    let request = request.and_then(|node| {
        let mut fields = Fields::of(node, "the request", problems)?;
        let request = reader.request(&mut fields, problems);
        fields.finish("not a key of a request", problems);
        request
    });
    let wants = fields.required("expect", "{ unchanged: true }", problems);
    let wants = wants.map(|node| {
        if matches!(&node.kind, Kind::Map(entries) if entries.is_empty()) {
            problems.push(Diagnostic::error("E106", "this case expects nothing").at(&node.place, ""));
        }
        expect::wants(node, reader, problems)
    });
    fields.finish("not a key of a case", problems);
    let call = request?.by(given.tenant.clone(), at?);
    Some(Case { written: Written::from(&node.place), call, usages, wants: wants? })
}
