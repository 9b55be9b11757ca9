//! A call that nobody made, as people write it: keys of YAML or JSON, strict, with the place of every mistake.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::DateTime;

use crate::diagnostic::{Diagnostic, Source};
use crate::domain::attribution::{Attribution, DataMode, Environment};
use crate::domain::clock::Timestamp;
use crate::domain::content::Content;
use crate::domain::tenant::{Revenue, Tenant, TenantId};
use crate::policy::ModelFacts;
use crate::policy::Policy;
use crate::policy::amount;
use crate::policy::reader::{
    Entry, Fields, Problems, expect_bool, expect_integer, expect_map, expect_str, expect_word, nearest,
};
use crate::policy::tree::{self, Node};

use super::{Hypothesis, Usage, Used};

/// What budgets are said to have used, by their index.
pub type Usages = BTreeMap<usize, Usage>;

/// What a hypothetical call may refer to.
pub struct Reader<'a> {
    /// The policy whose names it uses, and whose clock.
    pub policy: &'a Policy,
    /// What the price table says about a model.
    pub models: &'a dyn Fn(&str) -> Option<ModelFacts>,
    /// The tenants whose facts are known.
    pub tenants: &'a dyn Fn(&str) -> Option<Tenant>,
}

/// A question in one object: the keys of a tenant and of a request side by side, and `at`.
#[derive(Debug, Clone)]
pub struct Question {
    /// The call.
    pub call: Hypothesis,
    /// What counters are said to hold; the others hold what they hold.
    pub usages: Usages,
}

/// What a call says about itself, without who makes it and when.
#[derive(Debug, Clone)]
pub struct Request {
    pub(in crate::policy) attribution: Attribution,
    pub(in crate::policy) provider: Arc<str>,
    pub(in crate::policy) model: Arc<str>,
    pub(in crate::policy) cap: Option<u64>,
    pub(in crate::policy) thinking_budget: Option<u64>,
    pub(in crate::policy) reasoning: bool,
    pub(in crate::policy) content: Content,
}

impl Request {
    /// The call of a tenant at a moment.
    pub fn by(self, tenant: Tenant, now: Timestamp) -> Hypothesis {
        let Self { attribution, provider, model, cap, thinking_budget, reasoning, content } = self;
        Hypothesis { now, tenant, attribution, provider, model, cap, thinking_budget, reasoning, content }
    }
}

impl Reader<'_> {
    /// Reads a question, as YAML or JSON. `now` is its moment when it names none.
    pub fn question(&self, source: &Source, now: Timestamp) -> Result<Question, Vec<Diagnostic>> {
        let tree = tree::read(source);
        let mut problems = tree.diagnostics;
        let question = tree.root.as_ref().and_then(|root| {
            let mut fields = Fields::of(root, "the request", &mut problems)?;
            let at = fields.value("at").and_then(|node| self.moment(node, &mut problems));
            let tenant = self.tenant(&mut fields, &mut problems);
            let usages = self.usages(&mut fields, &mut problems);
            let request = self.request(&mut fields, &mut problems);
            fields.finish("not a key of a request", &mut problems);
            Some(Question { call: request?.by(tenant?, at.unwrap_or(now)), usages })
        });
        if tree.root.is_none() && problems.is_empty() {
            problems.push(Diagnostic::error("E105", "the request is empty").at(&source.start(), ""));
        }
        question.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// `2026-11-25 10:14`, in the policy's time zone.
    pub(in crate::policy) fn moment(&self, node: &Node, problems: &mut Problems) -> Option<Timestamp> {
        let text = expect_str(node, "a moment", problems)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-: T.".contains(&byte)) && text.len() >= 10;
        let local = text.parse::<DateTime>().ok().filter(|_| plain);
        let zoned = local.and_then(|local| local.to_zoned_datetime(self.policy.zone.clone()).ok());
        if zoned.is_none() {
            let fault = Diagnostic::error("E114", format!("`{text}` is not a moment")).at(&node.place, "");
            problems.push(fault.help("write `2026-11-25 10:14`; it is read in the policy's `timezone`"));
        }
        zoned.map(|zoned| Timestamp::from_jiff(zoned.timestamp()))
    }

    /// Takes the keys of a tenant. What is not given is as the directory knows it.
    pub(in crate::policy) fn tenant(&self, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Tenant> {
        let id = fields.required("tenantId", "globex", problems);
        let id = id.and_then(|node| {
            let text = expect_str(node, "`tenantId`", problems)?;
            let id = TenantId::new(text).ok();
            if id.is_none() {
                problems.push(Diagnostic::error("E115", format!("`{text}` is not an identifier")).at(&node.place, ""));
            }
            id
        });
        let (plans, segments) = (self.policy.plan_names(), self.policy.segment_names());
        let plan = fields.value("plan").and_then(|node| defined("plan", node, &plans, problems));
        let segment = fields.value("segment").and_then(|node| defined("segment", node, &segments, problems));
        let owner = fields.value("account_owner").and_then(|node| text(node, "`account_owner`", problems));
        let paid = fields.value("revenue").and_then(|node| revenue(node, problems));
        let id = id?;
        let known = (self.tenants)(id.as_str()).unwrap_or_else(|| Tenant::unknown(id));
        Some(Tenant {
            plan: plan.or(known.plan),
            segment: segment.or(known.segment),
            account_owner: owner.or(known.account_owner),
            revenue: paid.or(known.revenue),
            ..known
        })
    }

    /// Takes `used:`, how full counters are, and `asked:`, when their `decide` step was reached.
    pub(in crate::policy) fn usages(&self, fields: &mut Fields<'_>, problems: &mut Problems) -> Usages {
        let mut usages = Usages::new();
        for (key, node) in self.by_budget("used", fields, problems) {
            let share = expect_str(node, "`used`", problems).map(amount::percent);
            match share {
                Some(Ok(share)) => usages.entry(key).or_default().used = Used::Share(share),
                Some(Err(fault)) => problems.push(fault.at(&node.place)),
                None => {}
            }
        }
        for (key, node) in self.by_budget("asked", fields, problems) {
            usages.entry(key).or_default().decide_opened = self.moment(node, problems);
        }
        usages
    }

    /// Takes a map of budgets.
    pub(in crate::policy) fn by_budget<'t>(
        &self,
        name: &'static str,
        fields: &mut Fields<'t>,
        problems: &mut Problems,
    ) -> Vec<(usize, &'t Node)> {
        let Some(node) = fields.value(name) else { return Vec::new() };
        let entries: Vec<Entry<'t>> = expect_map(node, &format!("`{name}`"), problems).unwrap_or_default();
        let mut found = Vec::new();
        for (key, node) in entries {
            if let Some(budget) = self.policy.budget_named(&key.text) {
                found.push((budget, node));
                continue;
            }
            let names: Vec<&str> = self.policy.budgets.iter().map(|budget| &*budget.name).collect();
            let fault = Diagnostic::error("E131", format!("budget `{}` is not defined", key.text));
            problems.push(suggest(fault.at(&key.place, "used here"), &key.text, &names));
        }
        found
    }

    /// Takes the keys of a request.
    pub(in crate::policy) fn request(&self, fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Request> {
        let before = problems.len();
        let mut attribution = Attribution::default();
        let mut texts = |name, what: &str| fields.value(name).and_then(|node| text(node, what, problems));
        if let Some(tag) = texts("endpointTag", "`endpointTag`") {
            attribution.endpoint_tag = tag;
        }
        if let Some(version) = texts("promptVersion", "`promptVersion`") {
            attribution.prompt_version = version;
        }
        attribution.user_id = texts("userId", "`userId`");
        attribution.workflow_id = texts("workflowId", "`workflowId`");
        let (provider, model) = (texts("provider", "`provider`"), texts("model", "`model`"));
        let words = [DataMode::Real, DataMode::Test, DataMode::Demo].map(|word| (word.as_str(), word));
        if let Some(node) = fields.value("dataMode") {
            attribution.data_mode = expect_word(node, "`dataMode`", &words, problems).unwrap_or_default();
        }
        let places = [Environment::Prod, Environment::Staging, Environment::Dev].map(|place| (place.as_str(), place));
        if let Some(node) = fields.value("environment") {
            attribution.environment = expect_word(node, "`environment`", &places, problems).unwrap_or_default();
        }
        let mut numbers = |name, what: &str| fields.value(name).and_then(|node| expect_integer(node, what, problems));
        let (cap, thinking_budget) = (numbers("max_tokens", "`max_tokens`"), numbers("thinking", "`thinking`"));
        let input = numbers("input_tokens", "`input_tokens`").unwrap_or(0);
        let tool_output = numbers("tool_output_tokens", "`tool_output_tokens`").unwrap_or(0);
        // `stream` is a fact of a call that no rule looks at.
        let [_, tools, images] = ["stream", "tools", "images"].map(|name| {
            let node = fields.value(name);
            node.and_then(|node| expect_bool(node, &format!("`{name}`"), problems)).unwrap_or(false)
        });
        let model = model.unwrap_or_default();
        let known = (self.models)(&model);
        let served_by = known.as_ref().and_then(|facts| facts.provider.as_deref()).unwrap_or("openai");
        let provider = provider.unwrap_or_else(|| Arc::from(served_by));
        let reasoning = known.is_some_and(|facts| facts.reasoning);
        let content = Content {
            input: Some(input),
            tools,
            images,
            longest_tool_output: tool_output,
            tool_output,
            ..Content::passing(&provider)
        };
        let request = Request { attribution, provider, model, cap, thinking_budget, reasoning, content };
        Some(request).filter(|_| problems.len() == before)
    }
}

/// A name that the policy defines, or `E131`.
fn defined(kind: &str, node: &Node, known: &[&str], problems: &mut Problems) -> Option<Arc<str>> {
    let name = expect_str(node, kind, problems)?;
    if known.contains(&name) {
        return Some(Arc::from(name));
    }
    let fault = Diagnostic::error("E131", format!("{kind} `{name}` is not defined")).at(&node.place, "used here");
    problems.push(suggest(fault, name, known));
    None
}

/// Adds the nearest of the names that are defined, else all of them.
pub(in crate::policy) fn suggest(fault: Diagnostic, name: &str, known: &[&str]) -> Diagnostic {
    match nearest(name, known.iter().copied()) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => fault,
        None => fault.note(format!("defined: {}", known.join(", "))),
    }
}

pub(in crate::policy) fn text(node: &Node, what: &str, problems: &mut Problems) -> Option<Arc<str>> {
    expect_str(node, what, problems).map(Arc::from)
}

/// `199/month`.
fn revenue(node: &Node, problems: &mut Problems) -> Option<Revenue> {
    let text = expect_str(node, "`revenue`", problems)?;
    let parsed = Revenue::parse(text);
    if parsed.is_none() {
        let fault = Diagnostic::error("E122", format!("`{text}` is not a revenue")).at(&node.place, "");
        problems.push(fault.help("write `199/month`, in the policy's currency; leave it out when there is none"));
    }
    parsed
}
