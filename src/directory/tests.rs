//! The directory as finance writes it, and as it goes wrong.

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
    assert_eq!(directory.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>(), ["globex", "x"]);
}

#[test]
fn columns_stand_in_any_order() {
    let (directory, diagnostics, _) = parse("plan,tenantId\ngrowth,a\n");
    assert!(diagnostics.is_empty());
    assert_eq!(directory.tenant("a").and_then(|tenant| tenant.plan.as_deref()), Some("growth"));
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
