//! `cargo bench --bench policy`: how long a large folder takes to compile, 100,000 tenants and 500 budgets among it.
//!
//! It fails when the best of five runs takes a second. With `--test` it runs once and is not timed. What it times is what a
//! reload does between reading the files and asking the ledger; no call waits for that.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::error::Error;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use plimsoll::control;
use plimsoll::diagnostic::{Diagnostic, Source};
use plimsoll::directory::{Directory, KnownNames};
use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::price::PriceBook;
use plimsoll::policy::{self, Surroundings};

const TENANTS: usize = 100_000;
const BUDGETS: usize = 500;
const PLANS: usize = 50;
const EXCEPTIONS: usize = 2_000;
const MOST: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let timed = !std::env::args().any(|argument| argument == "--test");
    let policy = Source::new("policy.yaml", &policy_text()?);
    let tenants = Source::new("tenants.csv", &tenants_text()?);
    println!("{} kB of policy, {} kB of tenants", policy.text.len() / 1_000, tenants.text.len() / 1_000);
    let mut best = Duration::MAX;
    for _ in 0..if timed { 5 } else { 1 } {
        let began = Instant::now();
        let counted = compile(&policy, &tenants)?;
        let took = began.elapsed();
        println!("{counted} in {} ms", took.as_millis());
        best = best.min(took);
    }
    if timed && best >= MOST {
        return Err(format!("it took {} ms; a second is what it may take", best.as_millis()).into());
    }
    Ok(())
}

/// What a reload does between reading the files and asking the ledger.
fn compile(policy: &Source, tenants: &Source) -> Result<String, Box<dyn Error>> {
    let prices = PriceBook::builtin();
    let facts = |model: &str| control::model_facts(&prices, model);
    let now = Timestamp::from_seconds(1_795_000_000);
    let price_table = control::price_table(&prices);
    let surroundings = Surroundings { prices: &facts, price_table: &price_table, notify_targets: &[], now };
    let compiled = policy::compile(std::slice::from_ref(policy), &surroundings);
    let faults: Vec<String> = compiled.diagnostics.iter().map(Diagnostic::one_line).collect();
    let policy = compiled.policy.ok_or_else(|| faults.join("\n"))?;
    let (plans, segments) = (policy.plan_names(), policy.segment_names());
    let (directory, found) = Directory::parse(tenants, Some(KnownNames { plans: &plans, segments: &segments }));
    let within = control::oversubscribed(&policy, &directory, now);
    Ok(format!(
        "{} budgets, {} exceptions, {} tenants, {} notes",
        policy.budgets.len(),
        policy.exceptions.len(),
        directory.len(),
        faults.len() + found.len() + within.len()
    ))
}

fn policy_text() -> Result<String, std::fmt::Error> {
    let mut text = "version: 1\nmode: enforce\ntimezone: Europe/Berlin\nplans:\n".to_owned();
    for plan in 0..PLANS {
        writeln!(text, "  plan_{plan}: {{ llm_budget: ${}/month, target_margin: 70% }}", plan + 1)?;
    }
    text.push_str("budgets:\n  company: { limit: $100000000/month, escalation: ladder_0 }\n");
    text.push_str("  tenant: { per: [tenantId], within: company, limit: plan.llm_budget, escalation: ladder_1 }\n");
    for budget in 2..BUDGETS {
        let (per, limit) = match budget % 4 {
            0 => ("[tenantId]", "$5/rolling 1 hour"),
            1 => ("[tenantId, workflowId]", "$0.80/workflow"),
            2 => ("[tenantId, userId]", "2M tokens/day"),
            _ => ("[tenantId]", "$20/month"),
        };
        writeln!(
            text,
            "  feature_{budget}:\n    per: {per}\n    match: {{ endpointTag: [feature_{budget}.*, shared.*], plan: plan_{} }}\n    \
             limit: {limit}\n    escalation: ladder_{}",
            budget % PLANS,
            budget % 100
        )?;
    }
    text.push_str("escalations:\n");
    for ladder in 0..100 {
        writeln!(
            text,
            "  ladder_{ladder}:\n    warning: {{ at: 80%, notify: [log] }}\n    contain: {{ at: 100%, cap_output_tokens: 600, throttle: \
             {{ non_critical: 20 requests/min, queue: 3 s }} }}\n    degrade: {{ at: 1{ladder:02}%, block: non_critical }}"
        )?;
    }
    text.push_str("exceptions:\n");
    for exception in 0..EXCEPTIONS {
        writeln!(
            text,
            "  - {{ tenantId: tenant-{exception}, budget: tenant, limit: $900/month, reason: r, approved_by: a, expires: 2027-01-31 }}"
        )?;
    }
    Ok(text)
}

fn tenants_text() -> Result<String, std::fmt::Error> {
    let mut text = "tenantId,name,plan,segment,account_owner,revenue,upgrade_url\n".to_owned();
    for tenant in 0..TENANTS {
        // One in a hundred is ahead of the policy.
        let plan = if tenant % 100 == 0 { PLANS } else { tenant % PLANS };
        writeln!(
            text,
            "tenant-{tenant},\"Tenant, No. {tenant}\",plan_{plan},,owner-{}@example.com,{}/month,https://app.example.com/upgrade",
            tenant % 40,
            tenant % 900
        )?;
    }
    Ok(text)
}
