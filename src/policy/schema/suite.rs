//! Files of tests, `*_test.yaml` beside a policy.

use super::grammar::{MODEL, MOMENT, NAME, PERCENT, REVENUE, TENANT, TEXT};
use super::{Key, Map, Shape};

const SHARES: Shape = Shape::Named("tenant_month", &Shape::Text(&PERCENT));
const MOMENTS: Shape = Shape::Named("tenant_month", &Shape::Text(&MOMENT));
const USAGE: &[Key] = &[
    Key::new("used", SHARES, "How full budgets are; others have used nothing."),
    Key::new("asked", MOMENTS, "When the `decide` step of budgets was reached."),
];
const AT: Key = Key::new("at", Shape::Text(&MOMENT), "The moment, in the test or in its case. The clock stands still.");
const NAMES: Shape = Shape::List(&Shape::Text(&NAME));
const NUMBER_OR_NONE: Shape = Shape::Either(&[Shape::Integer, Shape::Word(&["none"])]);
const STEP: Shape = Shape::Word(&["warning", "spend_alert", "contain", "degrade", "decide", "none"]);

static GIVEN_TENANT: Map = Map {
    name: "given tenant",
    says: "Who calls. `tenants.csv` is not read.",
    keys: &[
        &[
            Key::required("tenantId", Shape::Text(&TENANT), "Its identifier."),
            Key::new("plan", Shape::Text(&NAME), "Its plan."),
            Key::new("segment", Shape::Text(&NAME), "Its segment."),
            Key::new("account_owner", Shape::Text(&TEXT), "The owner of its account."),
            Key::new("revenue", Shape::Text(&REVENUE), "What it pays."),
        ],
        USAGE,
    ],
    others: None,
};

static REQUEST: Map = Map {
    name: "request",
    says: "What the call says about itself.",
    keys: &[&[
        Key::new("endpointTag", Shape::Text(&TEXT), "The feature."),
        Key::new("promptVersion", Shape::Text(&TEXT), "The prompt's version."),
        Key::new("userId", Shape::Text(&TEXT), "The end user."),
        Key::new("workflowId", Shape::Text(&TEXT), "The unit of work."),
        Key::new("provider", Shape::Text(&TEXT), "The provider; as the price table has it when absent."),
        Key::new("model", Shape::Text(&MODEL), "The model that is asked for."),
        Key::new("dataMode", Shape::Word(&["real", "test", "demo"]), "Whose data it is."),
        Key::new("environment", Shape::Word(&["prod", "staging", "dev"]), "Where it runs."),
        Key::new("max_tokens", Shape::Integer, "The output tokens that the client asks for."),
        Key::new("thinking", Shape::Integer, "The thinking budget that the client asks for, in tokens."),
        Key::new("stream", Shape::Boolean, "Whether the answer is streamed."),
        Key::new("tools", Shape::Boolean, "Whether tools are offered."),
        Key::new("images", Shape::Boolean, "Whether images are shown."),
        Key::new("input_tokens", Shape::Integer, "How long the input is; 0 when absent."),
        Key::new("tool_output_tokens", Shape::Integer, "How long the longest result of a tool is; 0 when absent."),
    ]],
    others: None,
};

const OUTCOME: &[Key] = &[
    Key::new("unchanged", Shape::Boolean, "Whether nothing is done."),
    Key::new("model", Shape::Text(&MODEL), "The model that is served."),
    Key::new("cap_output_tokens", NUMBER_OR_NONE, "The cap that is written."),
    Key::new("throttle", Shape::Text(&TEXT), "The rate, or `none`."),
    Key::new("block", Shape::Boolean, "Whether the call is refused."),
    Key::new("status", NUMBER_OR_NONE, "The status of the refusal."),
    Key::new("message", Shape::Text(&TEXT), "Its words."),
    Key::new("step", STEP, "The severest step that acts on the call."),
    Key::new("budget", Shape::Text(&NAME), "Its budget, or `none`."),
    Key::new("by", Shape::Text(&TEXT), "A plan or segment that acts, or `none`."),
];

static WOULD: Map =
    Map { name: "would", says: "What rules in dry run would do on top.", keys: &[OUTCOME], others: None };

static EXPECT: Map = Map {
    name: "expect",
    says: "What is done. What is not named is not compared.",
    keys: &[
        OUTCOME,
        &[
            Key::new("would", Shape::Map(&WOULD), "What rules in dry run would do on top."),
            Key::new(
                "state",
                Shape::Named("tenant_month", &Shape::Word(&["ok", "warning", "exceeded"])),
                "How budgets stand.",
            ),
            Key::new("reached", Shape::Named("tenant_month", &STEP), "The severest step that a counter has reached."),
            Key::new("counted", NAMES, "The budgets that count the call, all of them."),
            Key::new("exceptions", NAMES, "Those that an active exception of the tenant is about."),
        ],
    ],
    others: None,
};

static CASE: Map = Map {
    name: "case",
    says: "A call, and what becomes of it.",
    keys: &[
        &[AT],
        USAGE,
        &[
            Key::required("request", Shape::Map(&REQUEST), "When this call comes."),
            Key::required("expect", Shape::Map(&EXPECT), "Then this is done."),
        ],
    ],
    others: None,
};

static TEST: Map = Map {
    name: "test",
    says: "One claim about the policy.",
    keys: &[&[
        Key::required("name", Shape::Text(&TEXT), "What is claimed."),
        AT,
        Key::required("tenant", Shape::Map(&GIVEN_TENANT), "Given this tenant."),
        Key::required("cases", Shape::List(&Shape::Map(&CASE)), "The calls."),
    ]],
    others: None,
};

/// A file of tests.
pub static SUITE: Map = Map {
    name: "tests",
    says: "What a policy promises, as cases that `plimsoll test` runs.",
    keys: &[&[Key::required("tests", Shape::List(&Shape::Map(&TEST)), "The claims.")]],
    others: None,
};
