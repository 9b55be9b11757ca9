//! The policy itself.

use super::grammar::{
    BOUND, CONDITION, CURRENCY, DATE, DURATION, ESTIMATE, EXCHANGE_RATE, FACTOR, LIMIT, MODEL, NAME, PATTERN, PERCENT,
    PLAN_LIMIT, PLANNED, TARGET, TENANT, TEXT, URL, WEEKLY, WORKFLOW_BOUND, ZONE,
};
use super::ladder::{CAP, GRACE, ROUTES, STEPS};
use super::{Key, Map, Shape};
use crate::policy::budget::Dimension;

const DIMENSIONS: &[&str] = &{
    let mut words = [""; Dimension::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = Dimension::ALL[at].0;
        at += 1;
    }
    words
};
const MODE: Shape = Shape::Word(&["enforce", "dry_run"]);
const PATTERNS: Shape = Shape::List(&Shape::Text(&PATTERN));
const TARGETS: Shape = Shape::List(&Shape::Text(&TARGET));
const NEVER: Shape = Shape::List(&Shape::Word(&["cap_output_tokens", "throttle", "route", "block"]));
const ESCALATION: Shape = Shape::Either(&[Shape::Text(&NAME), STEPS]);

static PLAN: Map = Map {
    name: "plan",
    says: "What a tenant has bought. Which plan a tenant has stands in tenants.csv.",
    keys: &[&[
        Key::new(
            "llm_budget",
            Shape::Text(&LIMIT),
            "What `limit: plan.llm_budget` means; all plans in the same unit and period.",
        ),
        Key::new("target_margin", Shape::Text(&PERCENT), "The margin to reach. Checked, used by no step yet."),
        Key::new("cap_output_tokens", CAP, "Always applied to tenants of the plan."),
        Key::new("route", ROUTES, "Always applied to tenants of the plan."),
        Key::new("upgrade_url", Shape::Text(&URL), "In refusals and in the quota answer; a tenant's own wins."),
        Key::new("message", Shape::Text(&TEXT), "The words of a refusal, where the step has none."),
    ]],
    others: None,
};

static FLAGSHIP: Map = Map {
    name: "flagship",
    says: "Models that only approved prompts may use. What the others get stands under `otherwise`.",
    keys: &[&[
        Key::required("allow", PATTERNS, "The models; their dated releases too."),
        Key::required("promptVersion", PATTERNS, "The versions of prompts that are approved."),
    ]],
    others: None,
};

static OTHERWISE: Map = Map {
    name: "otherwise",
    says: "What applies to prompts that are not approved for a flagship model and ask for one.",
    keys: &[&[
        Key::new("cap_output_tokens", CAP, "Applied to them."),
        Key::new("route", ROUTES, "Applied to them. It should lead away from every flagship model."),
    ]],
    others: None,
};

static LIMITS: Map = Map {
    name: "limits",
    says: "What a request may be at most.",
    keys: &[&[Key::new(
        "max_tool_output_tokens",
        Shape::Integer,
        "The longest result of a tool. A request with a longer one is refused with 400; nothing is cut.",
    )]],
    others: None,
};

static WATCH: Map = Map {
    name: "watch",
    says: "Bounds that are told of once a day and tenant when a call goes beyond them. They change nothing about it. A name with a dot is an attribute: `retrieval.k` is the number in `plimsoll-attr-retrieval-k`.",
    keys: &[&[
        Key::new("tool_output_tokens", Shape::Text(&BOUND), "All results of tools in a request together."),
        Key::new("steps", Shape::Text(&WORKFLOW_BOUND), "The calls of a workflow on one day (UTC)."),
        Key::new(
            "avgInputTokens",
            Shape::Text(&BOUND),
            "The mean input of the day's calls of a prompt version, from the twentieth on.",
        ),
    ]],
    others: Some(("retrieval.k", Shape::Text(&BOUND))),
};

static SEGMENT: Map = Map {
    name: "segment",
    says: "Tenants with one cost driver. Always on.",
    keys: &[&[
        Key::new("cap_output_tokens", CAP, "Always applied to tenants of the segment."),
        Key::new("route", ROUTES, "Always applied to tenants of the segment."),
        Key::new("never", NEVER, "Actions that no budget takes on its tenants."),
        Key::new("flagship", Shape::Map(&FLAGSHIP), "Models that only approved prompts may use. Needs `otherwise`."),
        Key::new("otherwise", Shape::Map(&OTHERWISE), "What other prompts get instead. Needs `flagship`."),
        Key::new("limits", Shape::Map(&LIMITS), "What a request may be at most."),
        Key::new("watch", Shape::Map(&WATCH), "What is told of and changes nothing."),
    ]],
    others: None,
};

static ENDPOINT: Map = Map {
    name: "endpoint",
    says: "Features by their endpoint tag. The most specific pattern counts; what no pattern matches is critical.",
    keys: &[&[
        Key::new("critical", Shape::Boolean, "Whether `non_critical:` leaves it alone; true when absent."),
        Key::new(
            "planned_cost",
            Shape::Text(&PLANNED),
            "What the feature was planned to cost. Checked, used by nothing yet.",
        ),
        Key::new("owner", Shape::Text(&TEXT), "Who answers for it."),
    ]],
    others: None,
};

static TARGETED: Map = Map {
    name: "target of a route",
    says: "A model with what else is asked of its provider.",
    keys: &[&[
        Key::required("model", Shape::Text(&MODEL), "The model that is served."),
        Key::new(
            "service_tier",
            Shape::Word(&["flex", "default"]),
            "What is written into requests of the OpenAI dialects, in place of the client's.",
        ),
    ]],
    others: None,
};

static ROUTE: Map = Map {
    name: "route",
    says: "Model → the model that is served instead, or several of which the first that fits the call is: of the same provider \
           and not dearer. A model without a rule is unchanged.",
    keys: &[&[Key::new("allow_more_expensive", Shape::Boolean, "Lifts the check that targets are not dearer.")]],
    others: Some(("gpt-4o", Shape::List(&Shape::Either(&[Shape::Text(&MODEL), Shape::Map(&TARGETED)])))),
};

static MATCH: Map = Map {
    name: "match",
    says: "Which calls a budget counts: every dimension fits one of its patterns, `when` is true, and what stands under `not` does \
           not fit.",
    keys: &[&[
        Key::new("tenantId", PATTERNS, "Who pays."),
        Key::new("plan", PATTERNS, "The tenant's plan."),
        Key::new("segment", PATTERNS, "The tenant's segment."),
        Key::new("endpointTag", PATTERNS, "The feature."),
        Key::new("promptVersion", PATTERNS, "The prompt's version."),
        Key::new("dataMode", Shape::List(&Shape::Word(&["real", "test", "demo"])), "Whose data it is."),
        Key::new("environment", Shape::List(&Shape::Word(&["prod", "staging", "dev"])), "Where it runs."),
        Key::new("userId", PATTERNS, "The end user."),
        Key::new("workflowId", PATTERNS, "The unit of a multi-call workflow."),
        Key::new("provider", PATTERNS, "The provider's name in plimsoll.yaml."),
        Key::new("model", PATTERNS, "The model that is asked for; its dated releases too."),
        Key::new("when", Shape::Text(&CONDITION), "What the patterns cannot say; judged where they fit."),
        Key::new("not", Shape::Map(&MATCH), "What is left out."),
    ]],
    others: None,
};

static BUDGET: Map = Map {
    name: "budget",
    says: "What may be spent, by whom, in which period. A budget acts only on the calls that it counts.",
    keys: &[&[
        Key::new(
            "per",
            Shape::List(&Shape::Word(DIMENSIONS)),
            "What has a counter of its own; without it there is one for all.",
        ),
        Key::new("match", Shape::Map(&MATCH), "Which calls it counts; without it all."),
        Key::required(
            "limit",
            Shape::Either(&[Shape::Text(&PLAN_LIMIT), Shape::Text(&LIMIT)]),
            "How much, of what, in which period.",
        ),
        Key::required("escalation", ESCALATION, "The name of an escalation, or its steps."),
        Key::new("mode", MODE, "Instead of the policy's."),
        Key::new(
            "within",
            Shape::Text(&NAME),
            "The budget that it stands under: `check` adds up. It changes nothing else.",
        ),
        GRACE,
        Key::new("review_by", Shape::Text(&DATE), "A date after which `check` warns."),
    ]],
    others: None,
};

static WHEN_EXPIRED: Map = Map {
    name: "when_expired",
    says: "Who is told of the end of an exception.",
    keys: &[&[
        Key::required("notify", TARGETS, "Who is told when it is over."),
        Key::new("before", Shape::Text(&DURATION), "How long before its end they are told too, and `check` warns."),
    ]],
    others: None,
};

static EXCEPTION: Map = Map {
    name: "exception",
    says: "What one tenant was granted, by whom, until when. It never makes an outcome harsher.",
    keys: &[&[
        Key::required("tenantId", Shape::Text(&TENANT), "Whom it is for."),
        Key::new("budget", Shape::Text(&NAME), "Which budget it concerns; all of them when absent."),
        Key::new("limit", Shape::Text(&LIMIT), "Instead of the budget's, in its unit and period. Needs `budget`."),
        Key::new("escalation", Shape::Text(&NAME), "Instead of the budget's. Needs `budget`."),
        Key::new("never", NEVER, "Actions that are not taken."),
        Key::required("reason", Shape::Text(&TEXT), "Why."),
        Key::required("approved_by", Shape::List(&Shape::Text(&TEXT)), "Who allowed it."),
        Key::new("ticket", Shape::Text(&TEXT), "Where it was discussed."),
        Key::required("expires", Shape::Text(&DATE), "The last day on which it holds."),
        Key::new("when_expired", Shape::Map(&WHEN_EXPIRED), "Who is told of its end."),
    ]],
    others: None,
};

static LEDGER_UNAVAILABLE: Map = Map {
    name: "on_ledger_unavailable",
    says: "What happens while the ledger cannot be written. Calls that a hard budget counts are always refused.",
    keys: &[&[
        Key::new(
            "allow",
            Shape::Word(&["all", "none"]),
            "Whether the other calls pass, with a warning; `all` when absent.",
        ),
        Key::new("alert", TARGETS, "Who is told when it begins and ends; the log always is."),
    ]],
    others: None,
};

static EXPOSE: Map = Map {
    name: "expose_to_clients",
    says: "How much clients see.",
    keys: &[&[
        Key::new(
            "budget",
            Shape::Word(&["percent", "amount", "never"]),
            "Of their own budgets; `percent` when absent. Budgets that tenants share are never shown.",
        ),
        Key::new("cost", Shape::Word(&["amount", "never"]), "Of what a request cost; `never` when absent."),
    ]],
    others: None,
};

static DEFAULTS: Map = Map {
    name: "defaults",
    says: "What happens where nothing else is said.",
    keys: &[&[
        Key::new(
            "on_missing_tenant",
            Shape::Word(&["meter_as_unattributed", "reject"]),
            "Calls without a tenant; `reject` is 401.",
        ),
        Key::new(
            "on_unpriced_model",
            Shape::Word(&["meter_tokens_only", "reject"]),
            "Models without a price; `reject` is 400, as always under a hard budget.",
        ),
        Key::new(
            "on_no_fit",
            Shape::Word(&["clamp", "reject"]),
            "Calls without a cap whose hold does not fit: write a smaller cap, or refuse.",
        ),
        Key::new("plan", Shape::Text(&NAME), "The plan of tenants that have none."),
        Key::new("on_ledger_unavailable", Shape::Map(&LEDGER_UNAVAILABLE), "When the ledger cannot be written."),
        Key::new("expose_to_clients", Shape::Map(&EXPOSE), "What clients see."),
    ]],
    others: None,
};

const NOTIFY: Key = Key::new("notify", TARGETS, "Who is told.");

static COST_DRIFT: Map = Map {
    name: "cost_drift",
    says: "Cost per request rises.",
    keys: &[&[
        Key::new("by", Shape::List(&Shape::Word(DIMENSIONS)), "What is compared."),
        Key::required("above", Shape::Text(&PERCENT), "By how much."),
        Key::required("versus", Shape::Text(&DURATION), "Compared with which past."),
        NOTIFY,
    ]],
    others: None,
};

static CONCENTRATION: Map = Map {
    name: "concentration",
    says: "One tenant makes up much of the spend.",
    keys: &[&[
        Key::required("tenant_share_above", Shape::Text(&PERCENT), "From which share on."),
        Key::required("within", Shape::Text(&DURATION), "Over which time."),
        NOTIFY,
    ]],
    others: None,
};

static RETRY_STORM: Map = Map {
    name: "retry_storm",
    says: "Many requests, few of them successful.",
    keys: &[&[
        Key::required("requests_above", Shape::Text(&FACTOR), "How many times the usual."),
        Key::required("success_below", Shape::Text(&PERCENT), "Which share succeeds."),
        Key::required("within", Shape::Text(&DURATION), "Over which time."),
        NOTIFY,
    ]],
    others: None,
};

static NEGATIVE_MARGIN: Map = Map {
    name: "negative_margin",
    says: "A tenant costs more than it pays.",
    keys: &[&[Key::required("for", Shape::Text(&DURATION), "For how long."), NOTIFY]],
    others: None,
};

static ALERTS: Map = Map {
    name: "alerts",
    says: "Checked, not in force yet.",
    keys: &[&[
        Key::new("cost_drift", Shape::Map(&COST_DRIFT), "Cost per request rises."),
        Key::new("concentration", Shape::Map(&CONCENTRATION), "One tenant makes up much of the spend."),
        Key::new("retry_storm", Shape::Map(&RETRY_STORM), "Many requests, few of them successful."),
        Key::new("negative_margin", Shape::Map(&NEGATIVE_MARGIN), "A tenant costs more than it pays."),
    ]],
    others: None,
};

static MARGIN: Map = Map {
    name: "margin",
    says: "Checked, not in force yet.",
    keys: &[&[
        Key::new("infra_estimate", Shape::Text(&ESTIMATE), "What everything else costs."),
        Key::new("review", Shape::Text(&WEEKLY), "When the weekly review is made."),
    ]],
    others: None,
};

/// A policy: every `*.yaml` of the folder, laid over each other.
pub static POLICY: Map = Map {
    name: "policy",
    says: "A Plimsoll policy: what each tenant may spend on language models, and what happens from which share on.",
    keys: &[&[
        Key::new("version", Shape::OneOf(&[1]), "The version of the language. Required in one file of the folder."),
        Key::new(
            "mode",
            MODE,
            "Whether rules act or are only measured and reported. Required in one file of the folder.",
        ),
        Key::new("currency", Shape::Text(&CURRENCY), "The currency of revenue; USD when absent."),
        Key::new("exchange", Shape::Named("EUR", &Shape::Text(&EXCHANGE_RATE)), "What other currencies are worth."),
        Key::new("timezone", Shape::Text(&ZONE), "Where calendar periods begin; UTC when absent."),
        Key::new("defaults", Shape::Map(&DEFAULTS), "What happens where nothing else is said."),
        Key::new("plans", Shape::Named("starter", &Shape::Map(&PLAN)), "What tenants buy, by name."),
        Key::new("segments", Shape::Named("high_stakes", &Shape::Map(&SEGMENT)), "Groups of tenants, by name."),
        Key::new("endpoints", Shape::Named("digest.*", &Shape::Map(&ENDPOINT)), "Features, by pattern of their tag."),
        Key::new("routes", Shape::Named("standard", &Shape::Map(&ROUTE)), "Cheaper models, by name."),
        Key::new("budgets", Shape::Named("standard", &Shape::Map(&BUDGET)), "Limits, by name."),
        Key::new("escalations", Shape::Named("standard", &STEPS), "Ladders of steps, by name."),
        Key::new("exceptions", Shape::List(&Shape::Map(&EXCEPTION)), "What single tenants were granted."),
        Key::new("alerts", Shape::Map(&ALERTS), "What is watched beside budgets."),
        Key::new("margin", Shape::Map(&MARGIN), "How margin is reckoned."),
    ]],
    others: None,
};
