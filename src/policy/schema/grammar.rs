//! The forms that texts are written in. What they accept is decided in `policy::amount` and in `config`.

use super::Grammar;

/// Declares a grammar.
const fn form(name: &'static str, says: &'static str, examples: &'static [&'static str]) -> Grammar {
    Grammar { name, says, examples, pattern: None }
}

/// The same with a pattern. It may be wider than the reader, which alone knows currencies and days of months, and never narrower.
const fn fits(pattern: &'static str, grammar: Grammar) -> Grammar {
    Grammar { pattern: Some(pattern), ..grammar }
}

// Parts of patterns, as macros because `concat!` takes nothing else.
macro_rules! number {
    () => {
        r"[0-9]+(\.[0-9]*)?"
    };
}
macro_rules! percent {
    () => {
        concat!(number!(), r"\s*%")
    };
}
macro_rules! amount {
    () => {
        concat!(number!(), "[kM]?")
    };
}
macro_rules! money {
    () => {
        concat!("(", r"\$", amount!(), "|", amount!(), r"\s+[A-Z]{3}", ")")
    };
}
macro_rules! period {
    () => {
        "(min|minute|hour|day|week|month)"
    };
}
macro_rules! duration {
    () => {
        r"[0-9]+\s*(s|second|seconds|min|minute|minutes|h|hour|hours|d|day|days|week|weeks)"
    };
}

/// Any text.
pub static TEXT: Grammar = form("text", "Any text.", &["January renewal, overrun approved"]);
/// A name that the policy defines.
pub static NAME: Grammar = form("name", "A name that the policy defines in the section of that kind.", &["standard"]);
/// A pattern.
pub static PATTERN: Grammar = form(
    "pattern",
    "A value, or a pattern in which `*` stands for any text, dots included. A pattern that begins with `*` stands in quotes.",
    &["digest.*", "support.reply"],
);
/// What patterns cannot say.
pub static CONDITION: Grammar = form(
    "condition",
    "An expression of CEL that is true or false, over the dimensions as texts; what is absent is `''`. Operators: `==` `!=` `<` \
     `<=` `>` `>=` `&&` `||` `!` `?:` `in`. Functions: `startsWith`, `endsWith`, `contains`, `matches`, `size`, `exists`, `all`.",
    &[
        "userId != '' && !endpointTag.startsWith('batch.')",
        "promptVersion.matches('^v[0-9]+$') && size(workflowId) > 8",
    ],
);

/// A limit.
pub static LIMIT: Grammar = fits(
    concat!(
        r"^\s*(",
        money!(),
        "|",
        amount!(),
        r"\s+(token|tokens|request|requests)|",
        percent!(),
        r"\s+of\s+revenue)\s*/\s*(",
        period!(),
        r"|workflow|rolling\s*",
        duration!(),
        r")\s*$"
    ),
    form(
        "limit",
        "An amount with a period: money, tokens, requests, or a share of what the tenant pays. Money is in dollars, or in a currency \
     that `exchange` has a rate for. `k` and `M` are factors; periods are minute (min), hour, day, week (from Monday) and month of \
     the calendar in `timezone`, `rolling` and a duration of a minute to 31 days, or `workflow`. No thousands separators.",
        &[
            "$150/month",
            "25 EUR/day",
            "2M tokens/day",
            "100 requests/min",
            "30% of revenue/month",
            "$5/rolling 1 hour",
            "$0.80/workflow",
        ],
    ),
);
/// What a plan's budget is.
pub static PLAN_LIMIT: Grammar = fits(
    r"^plan\.llm_budget$",
    form("limit of the plan", "The `llm_budget` of the tenant's plan.", &["plan.llm_budget"]),
);
/// A percentage.
pub static PERCENT: Grammar = fits(
    concat!("^", percent!(), "$"),
    form("percentage", "A number and `%`, with at most four decimals.", &["80%", "112.5%"]),
);
/// A threshold.
pub static THRESHOLD: Grammar = fits(
    concat!(r"^(forecast\s+)?", percent!(), r"\s*$"),
    form(
        "threshold",
        "A share of the limit; in steps that only notify also a forecast: used ÷ elapsed share of the window, once a fifth has passed.",
        &["100%", "forecast 110%"],
    ),
);
/// A rate.
pub static RATE: Grammar = fits(
    concat!(r"^\s*", amount!(), r"\s+(request|requests)\s*/\s*", period!(), r"\s*$"),
    form("rate", "Requests per period, per tenant and rule: that many at once, then evenly.", &["20 requests/min"]),
);
/// A share of tenants.
pub static ROLLOUT: Grammar = fits(
    concat!("^", percent!(), r"\s+of tenants$"),
    form(
        "share of tenants",
        "For whom a step acts: a tenant belongs to every share that is larger than its place, which never changes.",
        &["25% of tenants"],
    ),
);
/// What is watched of a request.
pub static BOUND: Grammar = fits(
    r"^above\s+\+?[0-9]+\s*(/\s*request\s*)?$",
    form("bound", "`above` and a whole number, per request.", &["above 4000/request", "above 6000"]),
);
/// What is watched of a workflow.
pub static WORKFLOW_BOUND: Grammar = fits(
    r"^above\s+\+?[0-9]+\s*(/\s*workflow\s*)?$",
    form("bound of a workflow", "`above` and a whole number, per workflow.", &["above 12/workflow", "above 12"]),
);
/// A currency.
pub static CURRENCY: Grammar = fits(
    "^[A-Z]{3}$",
    form("currency", "The code of a currency: three capital letters. All but USD need a rate.", &["USD", "EUR"]),
);
/// An exchange rate.
pub static EXCHANGE_RATE: Grammar = fits(
    concat!("^(", number!(), r"\s+USD|\$", number!(), ")$"),
    form("exchange rate", "What one unit of the currency is worth in dollars.", &["1.08 USD"]),
);
/// A duration.
pub static DURATION: Grammar = fits(
    concat!("^", duration!(), r"\s*$"),
    form("duration", "A whole number and s, min, hour, day or week.", &["2 days", "10 min", "3 s"]),
);
/// A date.
pub static DATE: Grammar = fits(
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    form("date", "Year, month, day; the day itself is included.", &["2027-01-31"]),
);
/// A planned cost.
pub static PLANNED: Grammar = fits(
    concat!(r"^\s*", money!(), r"\s*/\s*(request|workflow)\s*$"),
    form("planned cost", "Money per request or per workflow.", &["$0.004/request", "0.18 EUR/workflow"]),
);
/// A factor.
pub static FACTOR: Grammar = fits(concat!("^", number!(), "x$"), form("factor", "A number and `x`.", &["3x"]));
/// A tenant.
pub static TENANT: Grammar = form(
    "tenant",
    "A tenant's identifier: 1 to 128 visible ASCII characters without quotes, commas, backslashes or backticks.",
    &["acme-corp"],
);
/// Somebody who is told.
pub static TARGET: Grammar = form(
    "target",
    "`log`, `account_owner` (the owner of the tenant's account), or a name under `notify:` of plimsoll.yaml.",
    &["account_owner", "slack:llm-margin"],
);
/// A model.
pub static MODEL: Grammar =
    form("model", "A model as providers name it; dated releases of it are meant too.", &["gpt-4o-mini"]);
/// A time zone.
pub static ZONE: Grammar = form("time zone", "An IANA name.", &["Europe/Berlin", "UTC"]);
/// An estimate.
pub static ESTIMATE: Grammar = fits(
    concat!("^", percent!(), r"\s+of llm_cost$"),
    form("estimate", "A share of what models cost.", &["10% of llm_cost"]),
);
/// A weekday and a time.
pub static WEEKLY: Grammar = fits(
    "^(Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday) [0-2][0-9]:[0-5][0-9]$",
    form("weekday and time", "A weekday in English and a time.", &["Monday 08:00"]),
);
/// A web address.
pub static URL: Grammar = form("URL", "A web address.", &["https://app.example.com/upgrade"]);
/// A moment.
pub static MOMENT: Grammar =
    form("moment", "A date, or a date and a time, in the policy's `timezone`.", &["2026-11-25 10:14", "2026-11-25"]);
/// A revenue.
pub static REVENUE: Grammar = fits(
    concat!(r"^\s*", number!(), r"\s*/\s*", period!(), r"\s*$"),
    form("revenue", "What the tenant pays, per period, in the policy's currency.", &["199/month"]),
);
