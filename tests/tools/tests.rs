//! `plimsoll test`.

use serde_json::{Value, json};

use super::{Folder, root, run};

const POLICY: &str = "version: 1
mode: enforce
plans: { growth: { llm_budget: $150/month } }
endpoints: { digest.*: { critical: false } }
routes: { cheaper: { gpt-4o: gpt-4o-mini } }
budgets:
  tenant_month: { per: [tenantId], limit: plan.llm_budget, escalation: standard }
  digests: { mode: dry_run, per: [tenantId], match: { endpointTag: digest.* }, limit: $20/month, escalation: { contain: { at: 100%, block: all } } }
escalations:
  standard:
    warning: { at: 80%, notify: [log] }
    contain: { at: 100%, cap_output_tokens: 600 }
    degrade: { at: 110%, route: { non_critical: cheaper } }
exceptions:
  - { tenantId: globex, budget: tenant_month, never: [route], reason: r, approved_by: a, expires: 2027-01-31 }
";

const TESTS: &str = "tests:
  - name: a cap comes at the limit
    at: 2026-11-25 10:14
    tenant: { tenantId: initech, plan: growth, used: { tenant_month: 100% } }
    cases:
      - { request: { endpointTag: checkout, model: gpt-4o }, expect: { cap_output_tokens: 600, step: contain } }
  - name: an exception <ends> on its date
    tenant: { tenantId: globex, plan: growth, used: { tenant_month: 112% } }
    cases:
      - { at: 2027-01-31, request: { endpointTag: digest.weekly, model: gpt-4o }, expect: { model: gpt-4o, exceptions: tenant_month } }
      - { at: 2027-02-01, request: { endpointTag: digest.weekly, model: gpt-4o }, expect: { model: gpt-4o, cap_output_tokens: 500, throttle: none } }
";

fn folder() -> Folder {
    Folder::of(&[("policies/policy.yaml", POLICY), ("policies/policy_test.yaml", TESTS)])
}

#[test]
fn the_shipped_policy_keeps_what_it_promises() {
    let ran = run(&root(), &["test", "policies"]);
    assert_eq!((ran.code, ran.note.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.ends_with("11 passed   coverage: 9 of 9 steps exercised"), "{}", ran.out);
}

#[test]
fn a_failure_shows_the_fields_that_differ_and_the_rule_behind_them() {
    let ran = folder().run(&["test"]);
    assert_eq!((ran.code, ran.note.as_str()), (1, ""));
    insta::assert_snapshot!(ran.out, @r"
    policy_test.yaml
      ✓ a cap comes at the limit (1 case)
      ✗ an exception <ends> on its date
          policy_test.yaml:11  case 2: request digest.weekly gpt-4o at 2027-02-01T00:00:00+00:00
            model              gpt-4o        → gpt-4o-mini
            decided by         budgets.tenant_month › standard.degrade  (policy.yaml:13)
            cap_output_tokens  500           → 600
            decided by         budgets.tenant_month › standard.contain  (policy.yaml:12)
    1 failed, 1 passed   coverage: 3 of 4 steps exercised; never: digests.contain
    ");
}

// Mutation: only a budget's refusal has a message.
#[test]
fn a_refusal_of_what_a_request_carries_has_the_words_that_the_caller_gets() {
    let policy = "version: 1
mode: enforce
segments: { tool_heavy: { limits: { max_tool_output_tokens: 8000 } } }
";
    let test = "tests:
  - name: long results are turned away
    at: 2026-11-25 10:14
    tenant: { tenantId: globex, segment: tool_heavy }
    cases:
      - request: { tool_output_tokens: 9000 }
        expect: { block: true, status: 400, message: none }
";
    let folder = Folder::of(&[("policies/policy.yaml", policy), ("policies/policy_test.yaml", test)]);
    let ran = folder.run(&["test"]);
    let words = "the result of a tool in this request has about 9000 tokens and may have 8000; shorten it and send the request again";
    assert_eq!(ran.code, 1, "{}", ran.note);
    assert!(ran.out.contains(&format!("→ {words}")), "{}", ran.out);
    folder.write("policies/policy_test.yaml", &test.replace("message: none", &format!("message: \"{words}\"")));
    let ran = folder.run(&["test"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
}

#[test]
fn machines_read_the_same_as_json_and_as_junit() {
    let folder = folder();
    let ran = folder.run(&["test", "policies", "-o", "json"]);
    let report: Value = serde_json::from_str(&ran.out).expect("one JSON object");
    assert_eq!((ran.code, &report["passed"], &report["failed"]), (1, &json!(1), &json!(1)));
    assert_eq!(report["coverage"], json!({"steps": 4, "exercised": 3, "never": ["digests.contain"]}));
    assert_eq!(
        report["tests"][1]["cases"][1]["differences"][0],
        json!({"field": "model", "wanted": "gpt-4o", "got": "gpt-4o-mini", "decided_by": [
            {"rule": "budgets.tenant_month › standard.degrade", "file": "policy.yaml", "line": 13}]})
    );
    let ran = folder.run(&["test", "-o", "junit"]);
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.out, @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="plimsoll test" tests="2" failures="1">
      <testsuite name="policy_test.yaml" tests="2" failures="1">
        <testcase name="a cap comes at the limit" classname="policy_test.yaml" file="policy_test.yaml" line="2"/>
        <testcase name="an exception &lt;ends&gt; on its date" classname="policy_test.yaml" file="policy_test.yaml" line="7">
          <failure message="1 of 2 cases failed">
    policy_test.yaml:11 case 2: request digest.weekly gpt-4o at 2027-02-01T00:00:00+00:00
      model              gpt-4o        → gpt-4o-mini
      decided by         budgets.tenant_month › standard.degrade  (policy.yaml:13)
      cap_output_tokens  500           → 600
      decided by         budgets.tenant_month › standard.contain  (policy.yaml:12)
          </failure>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn every_mistake_of_a_test_is_shown_with_its_place() {
    let folder = folder();
    folder.write(
        "policies/policy_test.yaml",
        "tests:
  - name: wrong
    at: 25 Nov
    tenant: { tenantId: globex, plan: growht, used: { tenant_mont: 80%, digests: full } }
    cases:
      - request: { endpoint_tag: x, model: gpt-4o, stream: yes }
        expect:  { cap: 600, step: degraded, block: maybe, would: { unchangd: true } }
      - expect:  {}
",
    );
    let ran = folder.run(&["test"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let heads: Vec<&str> =
        ran.note.lines().filter(|line| line.starts_with("error") || line.trim_start().starts_with("-->")).collect();
    insta::assert_snapshot!(heads.join("\n"), @r"
    error[E114]: `25 Nov` is not a moment
     --> policy_test.yaml:3:9
    error[E131]: plan `growht` is not defined
     --> policy_test.yaml:4:39
    error[E131]: budget `tenant_mont` is not defined
     --> policy_test.yaml:4:55
    error[E112]: `full` is not a percentage
     --> policy_test.yaml:4:82
    error[E104]: unknown key `endpoint_tag` in the request
     --> policy_test.yaml:6:20
    error[E106]: `stream` must be `true` or `false`
     --> policy_test.yaml:6:60
    error[E104]: unknown key `cap` in `expect`
     --> policy_test.yaml:7:20
    error[E111]: `degraded` is not a value of a step
     --> policy_test.yaml:7:36
    error[E106]: `block` must be `true` or `false`
     --> policy_test.yaml:7:53
    error[E104]: unknown key `unchangd` in `would`
     --> policy_test.yaml:7:69
    error[E105]: a case has no `request`
     --> policy_test.yaml:8:9
    error[E106]: this case expects nothing
     --> policy_test.yaml:8:18
    ");
}

#[test]
fn dry_run_states_and_counts_can_be_expected_too() {
    let folder = folder();
    folder.write(
        "policies/policy_test.yaml",
        "tests:
  - name: digests are measured
    at: 2026-11-25 10:14
    tenant: { tenantId: initech, plan: growth, used: { digests: 100%, tenant_month: 80% } }
    cases:
      - request: { endpointTag: digest.weekly, model: gpt-4o }
        expect:
          unchanged: true
          would: { block: true, budget: digests, step: contain, status: 429 }
          state: { digests: exceeded, tenant_month: warning }
          reached: { tenant_month: warning }
          counted: [digests, tenant_month]
          exceptions: none
      - request: { endpointTag: checkout, model: gpt-4o }
        used: { tenant_month: 111% }
        expect: { would: { unchanged: true }, counted: tenant_month, cap_output_tokens: 600, state: { digests: ok } }
  - name: a share of no limit is a mistake of the test
    at: 2026-11-25 10:14
    tenant: { tenantId: unknown, used: { tenant_month: 80% } }
    cases: [{ request: { model: gpt-4o }, expect: { unchanged: true } }]
",
    );
    insta::assert_snapshot!(folder.run(&["test"]).out, @r"
    policy_test.yaml
      ✗ digests are measured
          policy_test.yaml:14  case 2: request checkout gpt-4o at 2026-11-25T10:14:00+00:00
            state.digests      ok            → not counted
      ✗ a share of no limit is a mistake of the test
          policy_test.yaml:20  case 1: request _untagged gpt-4o at 2026-11-25T10:14:00+00:00
            used.tenant_month  a limit       → no limit for unknown: its plan or revenue does not say one
    2 failed, 0 passed   coverage: 4 of 4 steps exercised
    ");
}

#[test]
fn without_policies_or_tests_there_is_nothing_to_run() {
    let folder = Folder::of(&[("empty/readme.md", ""), ("policies/policy.yaml", POLICY), ("broken/a.yaml", "mode: x")]);
    for (name, says) in [
        ("empty", "error: `empty` holds no policy (*.yaml)"),
        ("policies", "error: `policies` holds no tests (*_test.yaml)"),
        ("broken", "error[E105]: the policy has no `version`"),
    ] {
        let ran = folder.run(&["test", name]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{name}");
        assert!(ran.note.starts_with(says), "{name}: {}", ran.note);
    }
}
