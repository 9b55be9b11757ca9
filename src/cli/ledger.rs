//! `plimsoll ledger`: verification, and what is charged until evidence arrives. Reading takes no lock and works beside a running
//! gateway; resolving goes through it when it runs (`--url`).

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::domain::clock::{Clock, SystemClock};
use crate::domain::money::Money;
use crate::invoice::Measure;
use crate::ledger::{Evidence, InDoubt, Verification};

use super::desk::{Desk, Form, Place, environment, fail};
use super::output;
use super::text::{amount, count, many};

mod remote;

use remote::Remote;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Recompute every counter and every cost from the rows, and check the hash chain.
    Verify {
        /// How to write the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// List what is charged until evidence arrives: calls that nobody saw the end of, and leases of a run that died.
    InDoubt {
        /// How to write the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Replace an amount in doubt by what the evidence says.
    Resolve(Resolve),
}

#[derive(Debug, Args)]
struct Resolve {
    /// As `plimsoll ledger in-doubt` names it: a request's id, or `lease_7`.
    id: String,
    /// What was really spent: `$0.42`; for leases of tokens or requests a whole number.
    #[arg(long, value_name = "AMOUNT", required_unless_present = "void", conflicts_with = "void")]
    spent: Option<String>,
    /// Nothing was spent.
    #[arg(long)]
    void: bool,
    /// The evidence: a provider's usage export, a support case.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who says so.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
    /// The admin listener of a running gateway: `http://127.0.0.1:4181`. Its token comes from `PLIMSOLL_ADMIN_TOKEN`.
    #[arg(long)]
    url: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let desk = match Desk::open(&arguments.place) {
        Ok(desk) => desk,
        Err(fault) => return fail(&fault),
    };
    let done = match &arguments.verb {
        Verb::Verify { output } => verify(&desk, *output),
        Verb::InDoubt { output } => in_doubt(&desk, *output),
        Verb::Resolve(wanted) => resolve(&desk, wanted),
    };
    done.unwrap_or_else(|fault| fail(&fault))
}

fn verify(desk: &Desk, form: Form) -> Result<ExitCode, String> {
    let found = desk.reader()?.verify().map_err(|error| format!("error: the ledger cannot be read whole: {error}"))?;
    output::line(&match form {
        Form::Text => verified(&found),
        Form::Json => serde_json::to_string(&found).unwrap_or_default(),
    });
    Ok(ExitCode::from(u8::from(found.faults > 0)))
}

fn verified(found: &Verification) -> String {
    let number = |number: u64| count(i128::from(number));
    let mut text = format!(
        "{} rows, {} in the chain, {} costs computed again, {} counters added up again",
        number(found.rows),
        number(found.chained),
        number(found.priced),
        number(found.counters)
    );
    if found.retired > 0 {
        let _ = write!(text, ", {} left out that nobody keeps any more", number(found.retired));
    }
    for finding in &found.findings {
        let _ = write!(text, "\n! {finding}");
    }
    let described = u64::try_from(found.findings.len()).unwrap_or(u64::MAX);
    if found.faults > described {
        let _ = write!(text, "\n! and {} more", number(found.faults - described));
    }
    text.push_str(if found.faults == 0 { "\nall as it was written" } else { "\nnot as it was written" });
    text
}

fn in_doubt(desk: &Desk, form: Form) -> Result<ExitCode, String> {
    let all = desk.reader()?.all_in_doubt().map_err(|error| format!("error: {error}"))?;
    output::line(&match form {
        Form::Text => doubted(&all),
        Form::Json => serde_json::json!({ "in_doubt": all }).to_string(),
    });
    Ok(ExitCode::from(u8::from(!all.is_empty())))
}

fn doubted(all: &[InDoubt]) -> String {
    if all.is_empty() {
        return "nothing is in doubt".to_owned();
    }
    let width = all.iter().map(|one| one.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for one in all {
        let amount = worth(&one.unit, one.amount);
        let whose = one.tenant_id.as_deref().or(one.key.as_deref()).unwrap_or("everybody");
        let what = match &one.budget {
            Some(budget) => format!("leased from `{budget}`, window from {}", one.since),
            None => format!("a call of {}", one.since),
        };
        let _ = writeln!(text, "{:width$}  {amount:>14}  {whose}  {what}", one.id);
    }
    let _ = write!(
        text,
        "{} in doubt: charged until somebody knows better\n  plimsoll ledger resolve {} --spent AMOUNT --reason TEXT",
        many(all.len(), "amount"),
        all.first().map_or("ID", |one| &one.id)
    );
    text
}

/// An amount in its unit.
fn worth(unit: &str, number: i64) -> String {
    match unit {
        "nano_usd" => amount(Measure::Money, i128::from(number) * 1_000),
        _ => format!("{} {unit}", count(i128::from(number))),
    }
}

fn resolve(desk: &Desk, wanted: &Resolve) -> Result<ExitCode, String> {
    let token = environment("PLIMSOLL_ADMIN_TOKEN").unwrap_or_default();
    let gateway = wanted.url.as_deref().map(|url| Remote { url, token: &token });
    let listed = match &gateway {
        Some(gateway) => gateway.in_doubt()?,
        None => desk.reader()?.all_in_doubt().map_err(|error| format!("error: {error}"))?,
    };
    let unknown =
        || format!("error: nothing is in doubt under `{}`; `plimsoll ledger in-doubt` lists what is", wanted.id);
    let found = listed.into_iter().find(|one| one.id == wanted.id).ok_or_else(unknown)?;
    let evidence = Evidence {
        spent: wanted.spent.as_deref().map_or(Ok(0), |text| spent(text, &found.unit))?,
        actor: Arc::from(wanted.by.as_str()),
        reason: Arc::from(wanted.reason.as_str()),
        at: SystemClock.now(),
    };
    let settled = if let Some(gateway) = &gateway {
        gateway.resolve(&wanted.id, &evidence)?
    } else {
        let ledger = desk.writer("resolve through it with `--url http://ADMIN_ADDRESS`")?;
        let settled = ledger.settle_doubt(&wanted.id, &evidence, &|_| None);
        ledger.close();
        settled.map_err(|error| format!("error: {error}"))?
    };
    let settled = settled.ok_or_else(unknown)?;
    let (before, after) = (worth(&settled.unit, settled.amount), worth(&settled.unit, evidence.spent));
    output::line(&format!("{}: {before} in doubt became {after}", settled.id));
    Ok(ExitCode::SUCCESS)
}

/// `$0.42` in nano-dollars where money is in doubt, else a whole number of tokens or requests. The one is never taken for the
/// other.
fn spent(text: &str, unit: &str) -> Result<i64, String> {
    let (number, example) = match unit {
        "nano_usd" => {
            (text.strip_prefix('$').and_then(Money::parse_decimal).map(Money::nano), "money is in doubt: write `$0.42`")
        }
        "tokens" => (text.parse().ok(), "tokens are in doubt: write a whole number"),
        _ => (text.parse().ok(), "requests are in doubt: write a whole number"),
    };
    number.filter(|number| *number >= 0).ok_or_else(|| format!("error: `{text}` is not what was spent; {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_doubt_is_listed_with_the_next_step() {
        let lease = InDoubt {
            id: "lease_7".into(),
            budget: Some("tenant_month".into()),
            tenant_id: Some("globex".into()),
            key: Some("globex".into()),
            unit: "nano_usd".into(),
            amount: 53_000_000,
            since: "2026-11-01T00:00:00Z".into(),
        };
        let call = InDoubt {
            id: "req_JX2FjxJjRCHQSPltRoSQ".into(),
            budget: None,
            key: None,
            amount: 14_201_880_000_000,
            since: "2026-11-21T10:14:03Z".into(),
            ..lease.clone()
        };
        let tokens = InDoubt {
            id: "lease_8".into(),
            unit: "tokens".into(),
            amount: 12_000,
            tenant_id: None,
            key: None,
            ..lease.clone()
        };
        insta::assert_snapshot!(doubted(&[lease, tokens, call]));
        insta::assert_snapshot!(doubted(&[]), @"nothing is in doubt");
    }

    #[test]
    fn a_verification_says_what_it_looked_at_and_what_it_found() {
        let clean = Verification {
            rows: 1_204_113,
            chained: 1_204_113,
            priced: 1_200_001,
            counters: 341,
            ..Verification::default()
        };
        insta::assert_snapshot!(verified(&clean));
        let faults = Verification {
            faults: 102,
            retired: 3,
            findings: vec!["row 7 is not as it was written, or rows before it are missing".into()],
            ..clean
        };
        insta::assert_snapshot!(verified(&faults));
    }

    #[test]
    fn dollars_are_not_taken_for_tokens_nor_tokens_for_dollars() {
        assert_eq!(spent("$0.42", "nano_usd"), Ok(420_000_000));
        assert_eq!(spent("1200", "tokens"), Ok(1_200));
        for (text, unit) in
            [("5", "nano_usd"), ("$5", "tokens"), ("$5", "requests"), ("$-1", "nano_usd"), ("-1", "tokens")]
        {
            assert!(spent(text, unit).is_err(), "{text} {unit}");
        }
    }
}
