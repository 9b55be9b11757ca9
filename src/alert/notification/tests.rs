//! The JSON of notifications, and the example that other tests use.

use super::*;

/// The example of the contract.
pub(in crate::alert) fn warning() -> Notification {
    let tenant = TenantFacts {
        id: Arc::from("globex"),
        name: Some(Arc::from("Globex GmbH")),
        plan: Some(Arc::from("growth")),
        segment: None,
        account_owner: Some(Arc::from("dana@example.com")),
    };
    let budget = BudgetFacts {
        name: Arc::from("tenant_month"),
        limit: Amount::of(Unit::Money, 150_000_000_000),
        used: Used::of(Unit::Money, 120_400_000_000, 150_000_000_000),
        period: "2026-11".to_owned(),
        resets_at: Some("2026-12-01T00:00:00+01:00".to_owned()),
        forecast: Some(Forecast { percent: 142 }),
    };
    let transition = Transition {
        from: "ok",
        to: "warning",
        step: Arc::from("warning"),
        mode: Arc::from("enforce"),
        policy: Arc::from("r42 9f3c1ae"),
    };
    let next = |at: &str, action: &str| Next { at: at.to_owned(), action: action.to_owned() };
    let links = Links {
        tenant: Some("https://plimsoll.example.com/tenants/globex".to_owned()),
        upgrade: Some(Arc::from("https://app.example.com/upgrade")),
    };
    Notification {
        kind: Kind::BudgetWarning,
        timestamp: Timestamp::from_micros(1_795_234_331_500_000),
        facts: Facts {
            tenant: Some(tenant),
            budget: Some(budget),
            transition: Some(transition),
            next: vec![
                next("100%", "cap 600 output tokens; 20 requests/min on non_critical"),
                next("110%", "gpt-4o → gpt-4o-mini on non_critical"),
            ],
            links,
            ..Facts::default()
        },
    }
}

#[test]
fn a_webhook_reads_as_the_contract_says() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&warning()).unwrap(), @r#"
    {
      "type": "budget.warning",
      "timestamp": "2026-11-21T04:12:11Z",
      "data": {
        "tenant": {
          "tenantId": "globex",
          "name": "Globex GmbH",
          "plan": "growth",
          "segment": null,
          "account_owner": "dana@example.com"
        },
        "budget": {
          "name": "tenant_month",
          "limit": {
            "amount": "150.00",
            "currency": "USD"
          },
          "used": {
            "amount": "120.40",
            "percent": 80.3
          },
          "period": "2026-11",
          "resets_at": "2026-12-01T00:00:00+01:00",
          "forecast": {
            "percent": 142
          }
        },
        "transition": {
          "from": "ok",
          "to": "warning",
          "step": "warning",
          "mode": "enforce",
          "policy": "r42 9f3c1ae"
        },
        "next": [
          {
            "at": "100%",
            "action": "cap 600 output tokens; 20 requests/min on non_critical"
          },
          {
            "at": "110%",
            "action": "gpt-4o → gpt-4o-mini on non_critical"
          }
        ],
        "links": {
          "tenant": "https://plimsoll.example.com/tenants/globex",
          "upgrade": "https://app.example.com/upgrade"
        }
      }
    }
    "#);
}

#[test]
fn a_notification_without_a_budget_is_short() {
    let facts = Facts { message: Some("policy `a.yaml` was refused".to_owned()), ..Facts::default() };
    let notification = Notification { kind: Kind::PolicyRejected, timestamp: Timestamp::from_seconds(0), facts };
    insta::assert_snapshot!(serde_json::to_string(&notification).unwrap(), @r#"{"type":"policy.rejected","timestamp":"1970-01-01T00:00:00Z","data":{"message":"policy `a.yaml` was refused"}}"#);
}

#[test]
fn shares_have_one_decimal_and_never_overflow() {
    let percent = |used, limit| serde_json::to_string(&Used::of(Unit::Tokens, used, limit).percent).unwrap();
    assert_eq!(percent(803, 1_000), "80.3");
    assert_eq!(percent(1, 1), "100");
    assert_eq!(percent(9_999, 10_000), "99.9");
    assert_eq!(percent(0, 0), "100");
    assert_eq!(percent(-5, 10), "0");
    assert_eq!(percent(i64::MAX, 1), "429496729.5");
}
