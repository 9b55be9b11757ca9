//! Policies that nobody would write, each legal: every key in many combinations, under names that need quotes.
//!
//! A policy is drawn from a tape of numbers, so that a failing one shrinks towards the first choice of everything. It is written
//! as JSON, which is YAML too, and knows nothing of how policies are printed.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

mod tape;

use tape::Tape;

/// What the parts of a policy may refer to.
#[derive(Debug, Default)]
struct Ground {
    plans: Vec<String>,
    segments: Vec<String>,
    routes: Vec<String>,
    /// Ladders, and whether each asks somebody.
    ladders: Vec<(String, bool)>,
    /// What plans count, and per what.
    plan_unit: (&'static str, &'static str),
    plans_limit: bool,
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    map.extend(value.map(|value| (key.to_owned(), value.into())));
}

fn maybe<T>(tape: &mut Tape, make: impl FnOnce(&mut Tape) -> T) -> Option<T> {
    if tape.seldom() { Some(make(tape)) } else { None }
}

/// A value for everybody, or by scope.
fn scoped(tape: &mut Tape, mut make: impl FnMut(&mut Tape) -> Value) -> Value {
    match tape.below(4) {
        0 => make(tape),
        1 => json!({ "all": make(tape) }),
        2 => json!({ "non_critical": make(tape) }),
        _ => json!({ "all": make(tape), "non_critical": make(tape) }),
    }
}

fn cap(tape: &mut Tape) -> Value {
    let mut cap = scoped(tape, |tape| json!(1 + tape.below(9_000)));
    if let Value::Object(scopes) = &mut cap {
        put(scopes, "reasoning_models", maybe(tape, |tape| 1 + tape.below(9_000)));
    }
    cap
}

fn route(tape: &mut Tape, ground: &Ground) -> Option<Value> {
    (!ground.routes.is_empty() && tape.seldom()).then(|| scoped(tape, |tape| json!(tape.one(&ground.routes))))
}

fn throttle(tape: &mut Tape) -> Value {
    let rate = |tape: &mut Tape| {
        json!(format!("{} requests/{}", 1 + tape.below(5_000), tape.one(&["min", "hour", "day", "week", "month"])))
    };
    let mut rates = scoped(tape, rate);
    if let Value::Object(scopes) = &mut rates {
        put(scopes, "queue", maybe(tape, |tape| format!("{} s", 1 + tape.below(60))));
    }
    rates
}

fn actions(tape: &mut Tape, ground: &Ground) -> Map<String, Value> {
    let mut actions = Map::new();
    put(&mut actions, "cap_output_tokens", maybe(tape, cap));
    put(&mut actions, "throttle", maybe(tape, throttle));
    put(&mut actions, "route", route(tape, ground));
    put(&mut actions, "block", maybe(tape, |tape| tape.one(&["all", "non_critical"])));
    actions
}

fn targets(tape: &mut Tape) -> Value {
    match tape.below(3) {
        0 => json!(["account_owner"]),
        1 => json!(tape.name()),
        _ => json!(["log", tape.name(), "account_owner"]),
    }
}

fn steps(tape: &mut Tape, ground: &Ground, asks: bool) -> Value {
    let mut steps = Map::new();
    let mut at = 0;
    for step in ["warning", "spend_alert", "contain", "degrade", "decide"] {
        at += tape.below(400_000);
        let chosen = tape.often() || (step == "decide" && (asks || steps.is_empty()));
        if !chosen {
            continue;
        }
        let share = format!("{}.{:04}%", at / 10_000, at % 10_000);
        let notifies = step < "d" && step != "contain" || step == "spend_alert" || step == "warning";
        let forecast = step == "spend_alert" && tape.seldom();
        let mut rung =
            Map::from_iter([("at".to_owned(), json!(if forecast { format!("forecast {share}") } else { share }))]);
        if notifies {
            rung.insert("notify".to_owned(), targets(tape));
            steps.insert(step.to_owned(), Value::Object(rung));
            continue;
        }
        put(&mut rung, "notify", maybe(tape, targets));
        let mut does = actions(tape, ground);
        if does.is_empty() {
            does.insert("block".to_owned(), json!("non_critical"));
        }
        if step == "decide" && asks {
            does.remove("block");
            rung.insert("ask".to_owned(), json!(tape.name()));
            rung.insert("within".to_owned(), json!(tape.duration()));
            let mut answer = actions(tape, ground);
            answer.insert("block".to_owned(), json!("all"));
            rung.insert("otherwise".to_owned(), Value::Object(answer));
            let choices = tape.some(&["approve_overrun", "enforce_quota", "upsell"]);
            put(&mut rung, "choices", (!choices.is_empty()).then_some(choices));
        }
        rung.extend(does);
        put(&mut rung, "status", maybe(tape, |tape| tape.one(&[402, 403, 429])));
        put(&mut rung, "message", maybe(tape, Tape::name));
        put(&mut rung, "rollout", maybe(tape, |tape| format!("{}% of tenants", tape.below(101))));
        steps.insert(step.to_owned(), Value::Object(rung));
    }
    Value::Object(steps)
}

fn plan(tape: &mut Tape, ground: &Ground) -> Value {
    let (unit, per) = ground.plan_unit;
    let mut plan = Map::new();
    let budget = |tape: &mut Tape| match (unit, per) {
        ("money", "month" | "day") if tape.seldom() => format!("{} of revenue/{per}", tape.share()),
        _ => format!("{}/{per}", tape.quantity(unit)),
    };
    put(&mut plan, "llm_budget", ground.plans_limit.then(|| budget(tape)));
    put(&mut plan, "target_margin", maybe(tape, Tape::share));
    put(&mut plan, "cap_output_tokens", maybe(tape, cap));
    put(&mut plan, "route", route(tape, ground));
    put(&mut plan, "upgrade_url", maybe(tape, Tape::name));
    put(&mut plan, "message", maybe(tape, Tape::name));
    Value::Object(plan)
}

fn segment(tape: &mut Tape, ground: &Ground) -> Value {
    let mut segment = Map::new();
    put(&mut segment, "cap_output_tokens", maybe(tape, cap));
    put(&mut segment, "route", route(tape, ground));
    let mut never = tape.some(&["cap_output_tokens", "throttle", "route", "block"]);
    never.retain(|word| !segment.contains_key(word));
    put(&mut segment, "never", (!never.is_empty()).then_some(never));
    if tape.seldom() {
        let (mut models, mut prompts) = (tape.names(3), tape.names(3));
        models.push("gpt-4o".to_owned());
        prompts.push(tape.name());
        segment.insert("flagship".to_owned(), json!({ "allow": models, "promptVersion": prompts }));
        let mut otherwise = Map::from_iter([("cap_output_tokens".to_owned(), cap(tape))]);
        put(&mut otherwise, "route", route(tape, ground));
        segment.insert("otherwise".to_owned(), Value::Object(otherwise));
    }
    put(&mut segment, "limits", maybe(tape, |tape| json!({ "max_tool_output_tokens": tape.below(9_000) })));
    put(&mut segment, "watch", maybe(tape, watch));
    Value::Object(segment)
}

fn watch(tape: &mut Tape) -> Value {
    let mut watch = Map::new();
    for (key, per) in [("tool_output_tokens", "/request"), ("steps", "/workflow"), ("avgInputTokens", "")] {
        put(&mut watch, key, maybe(tape, |tape| format!("above {}{per}", tape.below(9_000))));
    }
    put(
        &mut watch,
        ["a.b", "retrieval.k", "A_c.d-e"][tape.below(3)],
        maybe(tape, |tape| format!("above {}", tape.below(99))),
    );
    Value::Object(watch)
}

/// With every quote and sign that YAML could take for its own.
const CONDITIONS: [&str; 5] = [
    "userId.startsWith(tenantId)",
    "model == 'it\\'s: # \"x\"' || !(environment in ['dev', 'prod'])",
    "['a', 'b'].exists(x, endpointTag.endsWith(x)) ? size(userId) > 3 : promptVersion != workflowId",
    r"endpointTag.matches(r'^v\d+\.[0-9]$') && userId != ''",
    r#"tenantId.contains("\u00e9\n\\")"#,
];

fn matcher(tape: &mut Tape, ground: &Ground, deeper: usize) -> Value {
    let mut matcher = Map::new();
    for dimension in ["tenantId", "endpointTag", "promptVersion", "userId", "workflowId", "provider", "model"] {
        let values = |tape: &mut Tape| {
            if tape.often() { json!(tape.name()) } else { json!([tape.name(), "digest.*", tape.name()]) }
        };
        put(&mut matcher, dimension, maybe(tape, values));
    }
    for (dimension, known) in [("plan", &ground.plans), ("segment", &ground.segments)] {
        put(&mut matcher, dimension, (!known.is_empty() && tape.seldom()).then(|| tape.one(known)));
    }
    put(&mut matcher, "dataMode", maybe(tape, |tape| tape.one(&["real", "test", "demo"])));
    put(&mut matcher, "environment", maybe(tape, |_| json!(["staging", "dev"])));
    put(&mut matcher, "when", maybe(tape, |tape| tape.one(&CONDITIONS)));
    put(&mut matcher, "not", (deeper > 0 && tape.seldom()).then(|| self::matcher(tape, ground, deeper - 1)));
    Value::Object(matcher)
}

/// A budget; what its exceptions' limits are counted in; and whether it may stand within the first.
fn budget(tape: &mut Tape, ground: &Ground) -> (Value, String, String) {
    let mut per = tape.some(&["plan", "segment", "endpointTag", "dataMode", "userId", "provider"]);
    let (kind, mut unit) = (tape.below(6), tape.one(&["money", "tokens", "requests"]).to_owned());
    let mut span = match kind {
        4 => format!("rolling {} {}", 1 + tape.below(59), tape.one(&["min", "hour"])),
        5 => "workflow".to_owned(),
        _ => tape.one(&["minute", "hour", "day", "week", "month"]).to_owned(),
    };
    per.extend((kind == 5).then(|| "workflowId".to_owned()));
    per.extend((tape.often() || kind == 2 || kind == 3).then(|| "tenantId".to_owned()));
    let limit = match kind {
        2 if ground.plans_limit && !ground.plans.is_empty() => {
            (unit, span) = (ground.plan_unit.0.to_owned(), ground.plan_unit.1.to_owned());
            "plan.llm_budget".to_owned()
        }
        3 => {
            unit = "money".to_owned();
            format!("{} of revenue/{span}", tape.share())
        }
        _ => format!("{}/{span}", tape.quantity(&unit)),
    };
    let is_calendar = !span.starts_with("rolling") && span != "workflow";
    let fitting: Vec<&String> =
        ground.ladders.iter().filter(|(_, asks)| is_calendar || !asks).map(|(name, _)| name).collect();
    let escalation = if fitting.is_empty() || tape.seldom() {
        let asks = is_calendar && tape.seldom();
        steps(tape, ground, asks)
    } else {
        json!(tape.one(&fitting))
    };
    let mut budget = Map::from_iter([("limit".to_owned(), json!(limit)), ("escalation".to_owned(), escalation)]);
    put(&mut budget, "per", (!per.is_empty()).then_some(per));
    put(&mut budget, "match", maybe(tape, |tape| matcher(tape, ground, 3)));
    put(&mut budget, "mode", maybe(tape, |tape| tape.one(&["enforce", "dry_run"])));
    put(&mut budget, "grace", maybe(tape, Tape::share));
    put(&mut budget, "review_by", maybe(tape, |tape| format!("20{}-0{}-11", 20 + tape.below(20), 1 + tape.below(9))));
    put(&mut budget, "within", (is_calendar && unit == "money" && tape.often()).then_some("all of it"));
    (Value::Object(budget), unit, span)
}

fn exception(tape: &mut Tape, ground: &Ground, tenant: usize, budgets: &[(String, String, String)]) -> Value {
    let mut exception = Map::new();
    exception
        .insert("tenantId".to_owned(), json!(format!("{}{tenant}", tape.one(&["tenant-", "0x", "2026", "no:", "*"]))));
    if tape.often() {
        let (name, unit, span) = tape.one(budgets);
        exception.insert("budget".to_owned(), json!(name));
        put(&mut exception, "limit", maybe(tape, |tape| format!("{}/{span}", tape.quantity(&unit))));
        let ladders: Vec<&String> = ground.ladders.iter().map(|(name, _)| name).collect();
        put(&mut exception, "escalation", (!ladders.is_empty() && tape.seldom()).then(|| tape.one(&ladders).clone()));
    }
    let never = tape.some(&["cap_output_tokens", "throttle", "route", "block"]);
    put(&mut exception, "never", (!never.is_empty()).then_some(never));
    exception.insert("reason".to_owned(), json!(tape.name()));
    let mut approved = tape.names(3);
    approved.push(tape.name());
    exception.insert("approved_by".to_owned(), json!(approved));
    put(&mut exception, "ticket", maybe(tape, Tape::name));
    exception.insert("expires".to_owned(), json!(format!("20{}-02-28", 27 + tape.below(40))));
    if tape.seldom() {
        let mut ending = Map::from_iter([("notify".to_owned(), targets(tape))]);
        put(&mut ending, "before", maybe(tape, Tape::duration));
        exception.insert("when_expired".to_owned(), Value::Object(ending));
    }
    Value::Object(exception)
}

fn routes(tape: &mut Tape, ground: &Ground) -> Map<String, Value> {
    let tier = |tape: &mut Tape| json!({ "model": "gpt-4o-mini", "service_tier": tape.one(&["flex", "default"]) });
    let mut route = |_: &String| {
        let mut rules = Map::new();
        put(
            &mut rules,
            "gpt-4o",
            maybe(tape, |tape| if tape.often() { json!("gpt-4o-mini") } else { json!(["gpt-3.5-turbo", tier(tape)]) }),
        );
        put(&mut rules, "claude-opus-4-5", maybe(tape, |_| "anthropic/claude-haiku-4-5"));
        if tape.seldom() {
            rules.insert(tape.name(), json!([tape.name()]));
        }
        if tape.seldom() {
            rules.insert("allow_more_expensive".to_owned(), json!(true));
            rules.insert("gpt-3.5-turbo".to_owned(), json!("gpt-4o"));
        }
        Value::Object(rules)
    };
    ground.routes.iter().map(|name| (name.clone(), route(name))).collect()
}

fn defaults(tape: &mut Tape, ground: &Ground) -> Value {
    let mut defaults = Map::new();
    put(&mut defaults, "on_missing_tenant", maybe(tape, |_| "reject"));
    put(&mut defaults, "on_unpriced_model", maybe(tape, |_| "reject"));
    put(&mut defaults, "on_no_fit", maybe(tape, |_| "reject"));
    put(&mut defaults, "plan", (!ground.plans.is_empty() && tape.seldom()).then(|| tape.one(&ground.plans)));
    let shown = |tape: &mut Tape| json!({ "budget": tape.one(&["percent", "amount", "never"]), "cost": tape.one(&["never", "amount"]) });
    put(&mut defaults, "expose_to_clients", maybe(tape, shown));
    let broken = |tape: &mut Tape| json!({ "allow": tape.one(&["all", "none"]), "alert": targets(tape) });
    put(&mut defaults, "on_ledger_unavailable", maybe(tape, broken));
    Value::Object(defaults)
}

fn drawn(tape: &mut Tape) -> String {
    let mut ground =
        Ground { plans: tape.names(4), segments: tape.names(3), routes: tape.names(3), ..Ground::default() };
    ground.ladders = tape.names(4).into_iter().map(|name| (name, tape.seldom())).collect();
    ground.plan_unit = (tape.one(&["money", "tokens", "requests"]), tape.one(&["month", "day", "rolling 1 hour"]));
    ground.plans_limit = tape.often();
    let named = |tape: &mut Tape, names: &[String], make: fn(&mut Tape, &Ground) -> Value| {
        names.iter().map(|name| (name.clone(), make(tape, &ground))).collect::<Map<_, _>>()
    };
    let mut endpoints = Map::new();
    for pattern in tape.names(4) {
        let mut endpoint = Map::new();
        put(&mut endpoint, "critical", maybe(tape, Tape::often));
        let planned = |tape: &mut Tape| format!("{}/{}", tape.quantity("money"), tape.one(&["request", "workflow"]));
        put(&mut endpoint, "planned_cost", maybe(tape, planned));
        put(&mut endpoint, "owner", maybe(tape, Tape::name));
        endpoints.insert(pattern, Value::Object(endpoint));
    }
    let ladders: Map<String, Value> =
        ground.ladders.iter().map(|(name, asks)| (name.clone(), steps(tape, &ground, *asks))).collect();
    let mut budgets = Map::from_iter([(
        "all of it".to_owned(),
        json!({ "limit": "$1/month", "escalation": steps(tape, &ground, true) }),
    )]);
    let mut counted = vec![("all of it".to_owned(), "money".to_owned(), "month".to_owned())];
    for name in tape.names(5) {
        let (budget, unit, span) = budget(tape, &ground);
        budgets.insert(name.clone(), budget);
        counted.push((name, unit, span));
    }
    let exceptions: Vec<Value> = (0..tape.below(4)).map(|tenant| exception(tape, &ground, tenant, &counted)).collect();
    let policy = json!({
        "version": 1,
        "mode": tape.one(&["dry_run", "enforce"]),
        "currency": tape.one(&["USD", "EUR"]),
        "exchange": { "EUR": "1.08 USD", "XAU": format!("{}.000000001 USD", tape.below(4)) },
        "timezone": tape.one(&["UTC", "Europe/Berlin", "america/new_york"]),
        "defaults": defaults(tape, &ground),
        "plans": named(tape, &ground.plans, plan),
        "segments": named(tape, &ground.segments, segment),
        "endpoints": endpoints,
        "routes": routes(tape, &ground),
        "budgets": budgets,
        "escalations": ladders,
        "exceptions": exceptions,
    });
    policy.to_string()
}

/// The text of a policy.
pub(crate) fn policies() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<u32>(), 0..600).prop_map(|tape| drawn(&mut Tape::new(tape)))
}
