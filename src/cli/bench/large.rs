//! A policy of 500 budgets and a file of 100,000 tenants, as texts: larger than anybody is expected to have.

use super::scenario::tenant;

/// How many tenants there are.
pub const TENANTS: u64 = 100_000;
/// How many budgets there are.
pub const BUDGETS: u64 = 500;
/// How many exceptions there are.
pub const EXCEPTIONS: u64 = 2_000;
const PLANS: u64 = 50;
const LADDERS: u64 = 100;

/// The policy.
pub fn policy() -> String {
    let plans =
        (0..PLANS).map(|plan| format!("  plan_{plan}: {{ llm_budget: ${}000/month, target_margin: 70% }}\n", plan + 1));
    let ladders = (0..LADDERS).map(ladder);
    let exceptions = (0..EXCEPTIONS).map(|number| {
        format!(
            "  - {{ tenantId: {}, budget: tenant, limit: $90000/month, reason: r, approved_by: a, expires: 2099-01-31 }}\n",
            tenant(number)
        )
    });
    format!(
        "version: 1\nmode: enforce\ntimezone: Europe/Berlin\nplans:\n{}budgets:\n\
         \x20 company: {{ limit: $100000000/month, escalation: ladder_0 }}\n\
         \x20 tenant: {{ per: [tenantId], within: company, limit: plan.llm_budget, escalation: ladder_1 }}\n\
         {}escalations:\n{}exceptions:\n{}",
        plans.collect::<String>(),
        (2..BUDGETS).map(budget).collect::<String>(),
        ladders.collect::<String>(),
        exceptions.collect::<String>()
    )
}

fn budget(number: u64) -> String {
    let (per, limit) = match number % 4 {
        0 => ("[tenantId]", "$5/rolling 1 hour"),
        1 => ("[tenantId, workflowId]", "$0.80/workflow"),
        2 => ("[tenantId, userId]", "2M tokens/day"),
        _ => ("[tenantId]", "$20/month"),
    };
    format!(
        "  feature_{number}:\n    per: {per}\n    match: {{ endpointTag: [feature_{number}.*, shared.*], plan: plan_{} }}\n    \
         limit: {limit}\n    escalation: ladder_{}\n",
        number % PLANS,
        number % LADDERS
    )
}

fn ladder(number: u64) -> String {
    format!(
        "  ladder_{number}:\n    warning: {{ at: 80%, notify: [log] }}\n    contain: {{ at: 100%, cap_output_tokens: 600, throttle: \
         {{ non_critical: 20 requests/min, queue: 3 s }} }}\n    degrade: {{ at: 1{number:02}%, block: non_critical }}\n"
    )
}

/// `tenants.csv`. One tenant in a hundred has a plan that the policy does not know yet.
pub fn tenants() -> String {
    let rows = (0..TENANTS).map(|number| {
        let plan = if number % 100 == 0 { PLANS } else { number % PLANS };
        format!(
            "{},\"Tenant, No. {number}\",plan_{plan},,owner-{}@example.com,{}/month,https://app.example.com/upgrade\n",
            tenant(number),
            number % 40,
            number % 900
        )
    });
    let head = "tenantId,name,plan,segment,account_owner,revenue,upgrade_url\n".to_owned();
    std::iter::once(head).chain(rows).collect()
}
