//! `plimsoll ledger`: verification, and what is charged until evidence arrives. Reading takes no lock and works beside a running
//! gateway; resolving goes through it when it runs (`--url`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::domain::clock::{Clock, SystemClock};
use crate::domain::money::Money;
use crate::domain::standing::Unit;
use crate::ledger::{Evidence, InDoubt, Settled, Verification, unit_of};

use super::desk::{Desk, Form, Place, environment, fail};
use super::output;
use super::text::{count, many, table};

mod remote;

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
    /// What was really spent: `$0.42`; for leases of tokens or requests `1200 tokens`, `3 requests`.
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
    let place = &arguments.place;
    let done = match &arguments.verb {
        Verb::Verify { output } => Desk::open(place).and_then(|desk| verify(&desk, *output)),
        Verb::InDoubt { output } => Desk::open(place).and_then(|desk| in_doubt(&desk, *output)),
        Verb::Resolve(wanted) => resolve(place, wanted),
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
    let many = |number: u64, what| many(usize::try_from(number).unwrap_or(usize::MAX), what);
    let mut text = format!(
        "{}, {} in the chain, {} computed again, {} added up again",
        many(found.rows, "row"),
        number(found.chained),
        many(found.priced, "cost"),
        many(found.counters, "counter")
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
    let Some(first) = all.first() else { return "nothing is in doubt".to_owned() };
    let mut rows = vec![["id", "tenant", "what", "since", "amount"].map(str::to_owned).to_vec()];
    let mut sums: BTreeMap<(String, String, &str), (usize, i64)> = BTreeMap::new();
    for one in all {
        let (whose, what) = (whose(one), what(one));
        rows.push(vec![one.id.clone(), whose.clone(), what.clone(), one.since.clone(), worth(&one.unit, one.amount)]);
        let (amounts, sum) = sums.entry((whose, what, &one.unit)).or_default();
        *amounts += 1;
        *sum = sum.saturating_add(one.amount);
    }
    for ((whose, what, unit), (amounts, sum)) in sums.into_iter().filter(|(_, (amounts, _))| *amounts > 1) {
        rows.push(vec![many(amounts, "amount"), whose, what, String::new(), worth(unit, sum)]);
    }
    let example = if first.unit == "nano_usd" { "'$0.42'".to_owned() } else { format!("'42 {}'", first.unit) };
    format!(
        "{}\n\n{} in doubt: charged until somebody knows better. With evidence of what was spent:\n  \
         plimsoll ledger resolve {} --spent {example} --reason TEXT   (beside a running gateway: --url http://127.0.0.1:4181)",
        table(&rows, 4),
        many(all.len(), "amount"),
        first.id
    )
}

fn whose(one: &InDoubt) -> String {
    one.tenant_id.clone().unwrap_or_else(|| "(all)".to_owned())
}

fn what(one: &InDoubt) -> String {
    let Some(budget) = &one.budget else { return "a call".to_owned() };
    // A counter of a tenant is named by the tenant already.
    match one.key.as_ref().filter(|key| one.tenant_id.as_ref() != Some(key)) {
        Some(key) => format!("leased from `{budget}` of `{key}`"),
        None => format!("leased from `{budget}`"),
    }
}

/// An amount in its unit, to the last digit.
fn worth(unit: &str, number: i64) -> String {
    match unit {
        "nano_usd" => Money::from_nano(number).to_string(),
        _ => format!("{} {unit}", count(i128::from(number))),
    }
}

fn resolve(place: &Place, wanted: &Resolve) -> Result<ExitCode, String> {
    let evidence = Evidence::new(spent(wanted)?, (&wanted.by, &wanted.reason), SystemClock.now())
        .map_err(|fault| format!("error: {fault}"))?;
    let settled = if let Some(url) = &wanted.url {
        remote::resolve(url, &environment("PLIMSOLL_ADMIN_TOKEN").unwrap_or_default(), &wanted.id, &evidence)?
    } else {
        let ledger = Desk::open(place)?.writer("resolve through it with `--url http://ADMIN_ADDRESS`")?;
        let settled = ledger.settle_doubt(&wanted.id, &evidence, &|_, _| None);
        ledger.close();
        settled.map_err(|error| format!("error: {error}"))?
    };
    match settled {
        Settled::Done(found) => {
            let (before, after) = (worth(&found.unit, found.amount), worth(&found.unit, evidence.spent()));
            output::line(&format!("{}: {before} in doubt became {after}", found.id));
            Ok(ExitCode::SUCCESS)
        }
        Settled::Unknown => {
            Err(format!("error: nothing is in doubt under `{}`; `plimsoll ledger in-doubt` lists what is", wanted.id))
        }
        Settled::OtherUnit(found) => {
            let example = if found.unit == "nano_usd" { "$0.42".to_owned() } else { format!("42 {}", found.unit) };
            Err(format!(
                "error: {} is in doubt under `{}`: write `--spent '{example}'`",
                worth(&found.unit, found.amount),
                found.id
            ))
        }
    }
}

/// `$0.42`, `1200 tokens`, `3 requests`.
fn spent(wanted: &Resolve) -> Result<(i64, Option<Unit>), String> {
    let Some(text) = &wanted.spent else { return Ok((0, None)) };
    let amount = match text.strip_prefix('$') {
        Some(dollars) => Money::parse_decimal(dollars).map(|dollars| (dollars.nano(), Some(Unit::Money))),
        None => text.split_once(' ').and_then(|(number, unit)| {
            let unit = unit_of(unit).filter(|unit| *unit != Unit::Money)?;
            Some((number.parse().ok()?, Some(unit)))
        }),
    };
    amount.ok_or_else(|| format!("error: `{text}` is no amount: write `$0.42`, `1200 tokens` or `3 requests`"))
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
}
