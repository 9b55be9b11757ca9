//! What a step does to whom: caps per class of model, and steps that act on a share of the tenants.

use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::policy::decision::{Decision, Step, StepSet};
use plimsoll::policy::rollout::Rollout;
use plimsoll::policy::{CallFacts, Policy, evaluate};

use super::decisions::{facts, standings, tagged};
use super::{compile_text, policy};

const LADDER: &str = "version: 1
mode: enforce
routes: { cheaper: { gpt-4o: gpt-4o-mini } }
endpoints: { batch.*: { critical: false } }
budgets:
  month: { per: [tenantId], limit: $10/month, escalation: e }
escalations:
  e:
    contain: { at: 100%, cap_output_tokens: { all: 800, reasoning_models: 4000 } }
    degrade: { at: 110%, route: cheaper, rollout: 25% of tenants }
    decide:  { at: 120%, block: all, rollout: 50% of tenants }
";

fn decide(policy: &Policy, tenant: &str, share: i64, change: impl Fn(&mut CallFacts<'_>)) -> Decision {
    let tenant = Tenant::unknown(TenantId::new(tenant).expect("an id"));
    let attribution = tagged("batch.x");
    let mut facts = facts(&tenant, &attribution);
    change(&mut facts);
    evaluate(policy, &facts, &standings(policy, &facts, share, None))
}

#[test]
fn a_cap_per_class_of_model_leaves_reasoning_its_room() {
    let policy = policy(LADDER);
    let cap = |cap, reasoning, thinking_budget| {
        let change = |facts: &mut CallFacts<'_>| {
            (facts.cap, facts.reasoning, facts.thinking_budget) = (cap, reasoning, thinking_budget);
        };
        decide(&policy, "t", 100, change).actions.cap
    };
    assert_eq!(cap(None, false, None), Some(800));
    assert_eq!(cap(None, true, None), Some(4_000), "instead of the other, not beside it");
    assert_eq!(cap(Some(2_000), true, None), None, "never raised");
    assert_eq!(cap(None, false, Some(1_024)), Some(4_000), "who asks for thinking has a model that reasons");
    assert_eq!(cap(None, true, Some(6_000)), Some(7_024));
    let only = super::policy(&LADDER.replace("{ all: 800, reasoning_models", "{ reasoning_models"));
    assert_eq!(decide(&only, "t", 100, |_| ()).actions.cap, None);
    let spared = super::policy(
        &LADDER.replace("{ all: 800,", "{ non_critical: 800,").replace("critical: false", "critical: true"),
    );
    assert_eq!(decide(&spared, "t", 100, |facts| facts.reasoning = true).actions.cap, None);
}

#[test]
fn a_step_acts_on_its_share_of_the_tenants_and_tells_everybody() {
    let policy = policy(LADDER);
    let quarter = Rollout::new(250_000).expect("a share");
    let (inside, outside) = ("globex", "acme-corp");
    assert!(quarter.includes(inside) && !quarter.includes(outside));
    let degraded = decide(&policy, inside, 115, |_| ());
    assert_eq!((degraded.actions.step, degraded.actions.route.is_some()), (Some(Step::Degrade), true));
    let spared = decide(&policy, outside, 115, |_| ());
    assert_eq!((spared.actions.step, spared.actions.route), (Some(Step::Contain), None));
    let reached = StepSet::default().with(Step::Contain).with(Step::Degrade);
    assert_eq!((degraded.states[0].reached, spared.states[0].reached), (reached, reached), "announced to both");
    let more = super::policy(&LADDER.replace("25% of", "80% of"));
    assert!([inside, outside].iter().all(|tenant| decide(&more, tenant, 115, |_| ()).actions.route.is_some()));
}

#[test]
fn a_ceiling_is_that_of_the_tenants_that_are_blocked() {
    let policy = policy(LADDER);
    let (inside, outside) = (decide(&policy, "globex", 130, |_| ()), decide(&policy, "acme-corp", 130, |_| ()));
    assert!(inside.actions.block.is_some() && outside.actions.block.is_none());
    assert_eq!((inside.ceilings.len(), outside.ceilings.len()), (1, 0));
    assert_eq!(
        policy.outside_promise(),
        ["budget `month` counts calls of tenants outside 50% of all and never refuses them"]
    );
    let words: Vec<String> = policy.next_steps(0, StepSet::default()).into_iter().map(|(_, _, words)| words).collect();
    assert_eq!(words[1], "gpt-4o → gpt-4o-mini; for 25% of tenants");
}

#[test]
fn a_rollout_must_be_a_share_and_have_something_to_roll_out() {
    let wrong = |text: &str| {
        let text = LADDER.replace("route: cheaper, rollout: 25% of tenants", text);
        compile_text(&text).1
    };
    insta::assert_snapshot!(wrong("route: cheaper, rollout: 25%"), @r"
    error[E122]: `25%` is not a share of tenants
      --> policy.yaml:10:51
       |
    10 |     degrade: { at: 110%, route: cheaper, rollout: 25% }
       |                                                   ^^^
       = help: write `25% of tenants`
    ");
    insta::assert_snapshot!(wrong("route: cheaper, rollout: 125% of tenants"), @r"
    error[E113]: `125% of tenants` is out of range
      --> policy.yaml:10:51
       |
    10 |     degrade: { at: 110%, route: cheaper, rollout: 125% of tenants }
       |                                                   ^^^^^^^^^^^^^^^ at most 100%
    ");
    insta::assert_snapshot!(wrong("notify: [log], rollout: 25% of tenants"), @r"
    error[E141]: `rollout` of a step without an action
      --> policy.yaml:10:41
       |
    10 |     degrade: { at: 110%, notify: [log], rollout: 25% of tenants }
       |                                         ^^^^^^^ does nothing
       = help: add an action, or delete it: everybody is told in any case
    ");
    for nobody in ["cap_output_tokens: {}", "throttle: { queue: 3 s }", "route: {}"] {
        let shown = wrong(&format!("notify: [log], {nobody}"));
        assert!(shown.contains("E141") && shown.contains("` does nothing"), "{shown}");
    }
    insta::assert_snapshot!(wrong("notify: [log], cap_output_tokens: {}"), @r"
    error[E141]: `cap_output_tokens` does nothing
      --> policy.yaml:10:60
       |
    10 |     degrade: { at: 110%, notify: [log], cap_output_tokens: {} }
       |                                                            ^
       = help: name a scope, as in `{ all: 600 }`, or leave it out
    ");
    let warns =
        LADDER.replace("    contain:", "    warning: { at: 90%, notify: [log], rollout: 5% of tenants }\n    contain:");
    insta::assert_snapshot!(compile_text(&warns).1, @r"
    error[E104]: unknown key `rollout` in step `warning` of escalation `e`
     --> policy.yaml:9:40
      |
    9 |     warning: { at: 90%, notify: [log], rollout: 5% of tenants }
      |                                        ^^^^^^^ this step only notifies
      = valid here: at, notify, when
    ");
}
