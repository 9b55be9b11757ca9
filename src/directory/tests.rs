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
    insta::assert_snapshot!(shown, @"");
}

#[test]
fn a_wrong_revenue_is_an_error_and_an_undefined_plan_a_warning() {
    let (_, _, shown) = parse("tenantId,plan,revenue\na,gold,\"4,000/month\"\nb,growth,199\nc,gold,\n");
    insta::assert_snapshot!(shown, @"");
}
