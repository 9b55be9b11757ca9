//! `/metrics`, word by word.

use super::*;

#[test]
fn the_page_has_the_promised_names() {
    let metrics = Metrics::default();
    let call = Finished {
        status: 200,
        input_tokens: Some(1_000),
        output_tokens: Some(40),
        cost_nano_usd: Some(12_500_000),
        ..Finished::default()
    };
    metrics.traffic("globex", "openai").finished(&call);
    metrics.traffic("globex", "openai").finished(&Finished { status: 429, unpriced: true, ..Finished::default() });
    metrics.decided(Action::Block, Mode::Enforce);
    metrics.decided(Action::Cap, Mode::DryRun);
    metrics.overhead(50);
    metrics.overhead(51);
    metrics.overhead(u32::MAX);
    metrics.attribution_invalid("data_mode");
    metrics.watch_exceeded("tool_heavy", "steps");
    metrics.watch_exceeded("tool_heavy", "steps");
    metrics.policy_loaded(true, 1_795_000_000);
    metrics.policy_loaded(false, 1_795_000_060);
    metrics.read_from(|| Readings {
        budgets: vec![
            BudgetReading { budget: "pool".into(), tenant: None, used: 1, limit: 4, state: 0 },
            BudgetReading { budget: "month".into(), tenant: Some("globex".into()), used: 112, limit: 100, state: 2 },
            BudgetReading { budget: "free".into(), tenant: Some("globex".into()), used: 0, limit: 0, state: 2 },
        ],
        ledger_dropped: 3,
        ledger_spooled: 4,
        ledger_wal_bytes: 4_096,
        panics: 2,
        throttle_waiting: 5,
        ledger_healthy: true,
    });
    insta::assert_snapshot!(metrics.render());
}

#[test]
fn tenants_beyond_the_fiftieth_share_one_label() {
    let metrics = Metrics::default();
    metrics.label_tenants((0..49).map(|_| "globex"));
    let call = Finished { status: 200, cost_nano_usd: Some(1_000_000_000), ..Finished::default() };
    for number in 0..1_000 {
        metrics.traffic(&format!("tenant_{number}"), "openai").finished(&call);
    }
    metrics.traffic("globex", "openai").finished(&call);
    let reading =
        |name: &str, used| BudgetReading { budget: "b".into(), tenant: Some(name.into()), used, limit: 10, state: 1 };
    let budgets = vec![reading("tenant_998", 3), reading("tenant_999", 7), reading("globex", 1)];
    metrics.read_from(move || Readings { budgets: budgets.clone(), ..Readings::default() });
    let page = metrics.render();
    let costs: Vec<&str> = page.lines().filter(|line| line.starts_with("plimsoll_cost_usd_total{")).collect();
    assert_eq!(costs.len(), MAX_TENANT_LABELS + 1);
    assert!(costs.contains(&r#"plimsoll_cost_usd_total{tenant="other",provider="openai"} 951.0"#), "{costs:?}");
    assert!(costs.contains(&r#"plimsoll_cost_usd_total{tenant="globex",provider="openai"} 1.0"#), "{costs:?}");
    assert!(page.contains(r#"plimsoll_budget_used_ratio{budget="b",tenant="other"} 0.7"#), "{page}");
}

#[test]
fn a_hostile_status_or_tenant_breaks_nothing() {
    let metrics = Metrics::default();
    for status in [0, 99, 600, u16::MAX] {
        let call = Finished { status, cost_nano_usd: Some(i64::MIN), ..Finished::default() };
        metrics.traffic("a\"b\n", "openai").finished(&call);
    }
    assert!(metrics.render().contains(r#"plimsoll_requests_total{tenant="a\"b\n",provider="openai",status="5xx"} 2"#));
}
