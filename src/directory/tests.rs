//! The directory as finance writes it, and as it goes wrong.

use std::sync::Arc;

use super::*;
use crate::diagnostic::render;
use crate::domain::window::Period;

const HEADER: &str = "tenantId,name,plan,segment,account_owner,revenue,upgrade_url\n";

fn parse(text: &str) -> (Directory, Vec<Diagnostic>, String) {
    let source = Source::new("tenants.csv", text);
    let known = KnownNames { plans: &["growth"], segments: &[] };
    let (directory, diagnostics) = Directory::parse(&source, Some(known));
    let shown = render(&diagnostics, &[source]);
    (directory, diagnostics, shown)
}

#[test]
fn a_row_becomes_a_tenant() {
    let text =
        format!("{HEADER}globex,\"Globex, \"\"GmbH\"\"\",growth,,dana@example.com,199.50/month,\n\nx,,,,,0/month,\r\n");
    let (directory, diagnostics, shown) = parse(&text);
    assert!(diagnostics.is_empty(), "{shown}");
    let globex = directory.tenant("globex").expect("a tenant");
    assert_eq!(globex.name.as_deref(), Some("Globex, \"GmbH\""));
    let revenue = globex.revenue.expect("revenue");
    assert_eq!((revenue.amount.to_string().as_str(), revenue.per), ("$199.50", Period::Month));
    let x = directory.tenant("x").expect("a tenant");
    assert!(x.revenue.is_none() && x.plan.is_none() && globex.segment.is_none());
    assert_eq!(directory.iter().map(|tenant| tenant.id.to_string()).collect::<Vec<_>>(), ["globex", "x"]);
}

#[test]
fn columns_stand_in_any_order() {
    let (directory, diagnostics, _) = parse("plan,tenantId\ngrowth,a\n");
    assert!(diagnostics.is_empty());
    assert_eq!(directory.tenant("a").and_then(|tenant| tenant.plan).as_deref(), Some("growth"));
}

#[test]
fn every_mistake_is_reported_at_its_cell() {
    let (directory, _, shown) = parse("tenantId,plan,revenues\na,growth,\nb c,growth,\na,gold,\n,growth,\nd,\"x,\n");
    assert_eq!(directory.len(), 1);
    insta::assert_snapshot!(shown, @r#"
    error[E171]: `revenues` is not a column of tenants
     --> tenants.csv:1:15
      |
    1 | tenantId,plan,revenues
      |               ^^^^^^^^
      = valid here: tenantId, name, plan, segment, account_owner, revenue, upgrade_url

    error[E174]: `b c` is not an identifier of a tenant
     --> tenants.csv:3:1
      |
    3 | b c,growth,
      | ^^^
      = help: 1 to 128 visible ASCII characters without quotes, commas, backslashes or blanks

    error[E172]: tenant `a` is given twice
     --> tenants.csv:4:1
      |
    2 | a,growth,
      | - first given here
      |
    4 | a,gold,
      | ^ again here
      = help: keep one of the two rows

    warning[W175]: plan `gold` is not defined in the policy
     --> tenants.csv:4:3
      |
    4 | a,gold,
      |   ^^^^
      = defined: growth

    error[E174]: this row has no `tenantId`
     --> tenants.csv:5:1
      |
    5 | ,growth,
      | ^

    error[E173]: this quote is not closed in its line
     --> tenants.csv:6:3
      |
    6 | d,"x,
      |   ^
      = help: close it, or leave it out: only cells with a comma need quotes
    "#);
}

#[test]
fn a_wrong_revenue_is_an_error_and_an_undefined_plan_a_warning() {
    let (_, _, shown) = parse("tenantId,plan,revenue\na,gold,\"4,000/month\"\nb,growth,199\nc,gold,\n");
    insta::assert_snapshot!(shown, @r#"
    error[E174]: `4,000/month` is not a revenue
     --> tenants.csv:2:8
      |
    2 | a,gold,"4,000/month"
      |        ^^^^^^^^^^^^^
      = help: write `199/month` (the policy's currency, no sign, no thousands separator)

    error[E174]: `199` is not a revenue
     --> tenants.csv:3:10
      |
    3 | b,growth,199
      |          ^^^
      = help: write `199/month` (the policy's currency, no sign, no thousands separator)

    warning[W175]: plan `gold` is not defined in the policy
     --> tenants.csv:4:3
      |
    4 | c,gold,
      |   ^^^^
      = defined: growth
    "#);
}

// Mutations: who was added counts as one of the file; who is in the file is replaced, or counts as added.
#[test]
fn a_tenant_that_the_file_does_not_hold_is_added_and_told_from_those_of_the_file() {
    let (mut directory, ..) = parse(&format!("{HEADER}globex,Globex,growth,,,,\n"));
    let unknown = |id| Tenant::unknown(TenantId::new(id).expect("an identifier"));
    directory.add_absent(["globex", "acme"].map(unknown));
    let names = ["globex", "acme", "initech"].map(|id| (directory.tenant(id).is_some(), directory.is_in_file(id)));
    assert_eq!(names, [(true, true), (true, false), (false, false)]);
    assert_eq!(directory.tenant("globex").and_then(|tenant| tenant.name).as_deref(), Some("Globex"));
}

// Mutation: the earlier counts.
#[test]
fn of_two_tenants_with_one_identifier_the_later_counts() {
    let named =
        |name| Tenant { name: Some(Box::from(name)), ..Tenant::unknown(TenantId::new("a").expect("an identifier")) };
    let directory = Directory::of(["earlier", "later"].map(named));
    assert_eq!((directory.len(), directory.tenant("a")), (1, Some(named("later"))));
    assert_eq!((directory.holds("a"), directory.holds("b")), (true, false));
}

// Mutations: the first text stands for all; each row has its own.
#[test]
fn what_many_rows_have_is_kept_once() {
    let text = format!("{HEADER}a,,growth,retail,dana,,\nb,,starter,retail,ann,,\nc,,growth,banks,dana,,\n");
    let (directory, ..) = Directory::parse(&Source::new("tenants.csv", &text), None);
    let [a, b, c] = ["a", "b", "c"].map(|id| directory.tenant(id).expect("a tenant"));
    let texts =
        [&a, &b, &c].map(|it| [&it.plan, &it.segment, &it.account_owner].map(|text| text.as_deref().unwrap_or("")));
    assert_eq!(texts, [["growth", "retail", "dana"], ["starter", "retail", "ann"], ["growth", "banks", "dana"]]);
    let same = |one: &Option<Arc<str>>, other: &Option<Arc<str>>| {
        one.as_ref().zip(other.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
    };
    assert!(same(&a.plan, &c.plan) && same(&a.account_owner, &c.account_owner) && same(&a.segment, &b.segment));
}
