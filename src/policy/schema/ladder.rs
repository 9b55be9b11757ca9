//! Escalations: steps, actions, and for whom they hold.

use super::grammar::{DURATION, NAME, PERCENT, RATE, ROLLOUT, TARGET, TEXT, THRESHOLD};
use super::{Key, Map, Shape};

const TARGETS: Shape = Shape::List(&Shape::Text(&TARGET));
const ROUTE: Shape = Shape::Text(&NAME);

/// `cap_output_tokens`.
pub(super) const CAP: Shape = Shape::Either(&[Shape::Integer, Shape::Map(&CAP_SCOPES)]);
/// `throttle`.
const RATES: Shape = Shape::Either(&[Shape::Text(&RATE), Shape::Map(&RATE_SCOPES)]);
/// `route`.
pub(super) const ROUTES: Shape = Shape::Either(&[ROUTE, Shape::Map(&ROUTE_SCOPES)]);
/// `escalation`.
pub(super) const STEPS: Shape = Shape::Map(&ESCALATION);

static CAP_SCOPES: Map = Map {
    name: "scoped cap",
    says: "Caps on output tokens by scope. The lowest that applies holds, never above what the client asks for.",
    keys: &[&[
        Key::new("all", Shape::Integer, "For every call."),
        Key::new("non_critical", Shape::Integer, "For calls of endpoints that are not critical."),
        Key::new(
            "reasoning_models",
            Shape::Integer,
            "For models that reason, instead of the others: their thinking counts as output.",
        ),
    ]],
    others: None,
};

static RATE_SCOPES: Map = Map {
    name: "scoped throttle",
    says: "Rates by scope.",
    keys: &[&[
        Key::new("all", Shape::Text(&RATE), "For every call."),
        Key::new("non_critical", Shape::Text(&RATE), "For calls of endpoints that are not critical."),
        Key::new(
            "queue",
            Shape::Text(&DURATION),
            "How long a call may wait for its turn, 1 s to 60 s; without it none does.",
        ),
    ]],
    others: None,
};

static ROUTE_SCOPES: Map = Map {
    name: "scoped route",
    says: "Routes by scope.",
    keys: &[&[
        Key::new("all", ROUTE, "For every call."),
        Key::new("non_critical", ROUTE, "For calls of endpoints that are not critical."),
    ]],
    others: None,
};

const ACTIONS: &[Key] = &[
    Key::new(
        "cap_output_tokens",
        CAP,
        "The most output tokens of one answer. Never set at or below a thinking budget that the client asks for.",
    ),
    Key::new("throttle", RATES, "How many requests one tenant may make."),
    Key::new("route", ROUTES, "The route whose models are served instead."),
    Key::new(
        "block",
        Shape::Word(&["all", "non_critical"]),
        "Refuse requests. `all` makes the budget hard: its limit is never overshot.",
    ),
];

const EVERY_STEP: &[Key] = &[
    Key::required("at", Shape::Text(&THRESHOLD), "From which share of the limit on."),
    Key::new("notify", TARGETS, "Who is told, once per step, counter and window."),
];

const MANNER: &[Key] = &[
    Key::new("status", Shape::OneOf(&[429, 402, 403]), "The HTTP status of a refusal; 429 when absent."),
    Key::new("message", Shape::Text(&TEXT), "The words of a refusal. The end customer may read them."),
    Key::new("rollout", Shape::Text(&ROLLOUT), "For which share of the tenants the step acts. All are told."),
];

const QUESTION: &[Key] = &[
    Key::new("ask", Shape::Text(&TARGET), "Who decides. Needs `within` and `otherwise`."),
    Key::new(
        "choices",
        Shape::List(&Shape::Word(&["approve_overrun", "enforce_quota", "upsell"])),
        "The answers on offer.",
    ),
    Key::new(
        "within",
        Shape::Text(&DURATION),
        "How long there is to answer, from the moment that the step is reached.",
    ),
    Key::new(
        "otherwise",
        Shape::Map(&OTHERWISE),
        "What applies from the deadline to the end of the window when nobody has answered.",
    ),
];

static OTHERWISE: Map = Map {
    name: "default answer",
    says: "The actions of a question that nobody answers.",
    keys: &[ACTIONS],
    others: None,
};

static NOTIFYING: Map =
    Map { name: "notifying step", says: "A step that only tells people.", keys: &[EVERY_STEP], others: None };

static ACTING: Map = Map {
    name: "acting step",
    says: "A step that changes what calls get.",
    keys: &[EVERY_STEP, ACTIONS, MANNER],
    others: None,
};

static DECIDING: Map = Map {
    name: "deciding step",
    says: "A step that asks a person, with what happens when nobody answers; without `ask` a step like any other.",
    keys: &[EVERY_STEP, ACTIONS, MANNER, QUESTION],
    others: None,
};

/// The steps of a ladder.
pub(super) static ESCALATION: Map = Map {
    name: "escalation",
    says: "What happens as usage rises. Steps accumulate, and begin in this order; each is optional.",
    keys: &[&[
        Key::new("warning", Shape::Map(&NOTIFYING), "Tells people."),
        Key::new("spend_alert", Shape::Map(&NOTIFYING), "Tells people, mostly by a forecast."),
        Key::new("contain", Shape::Map(&ACTING), "Limits what calls cost."),
        Key::new("degrade", Shape::Map(&ACTING), "Serves cheaper."),
        Key::new("decide", Shape::Map(&DECIDING), "Asks a person, or ends it."),
    ]],
    others: None,
};

/// `grace`.
pub(super) const GRACE: Key =
    Key::new("grace", Shape::Text(&PERCENT), "Steps that block wait for 100 % and this much more.");
