//! `plimsoll print` as it is run: one file for a folder, or why there is none.

use super::{Folder, root, run};

const HEAD: &str = "version: 1\nmode: enforce\ntimezone: Europe/Berlin\n";
const BUDGETS: &str = "budgets:
  all: { per: [tenantId], limit: 12 EUR/month, escalation: stop }
exchange: { EUR: 1.08 USD }
exceptions:
  - { tenantId: globex, budget: all, never: [block], reason: gone, approved_by: dana, expires: 2020-01-31 }
";
const LADDERS: &str = "escalations: { stop: { contain: { at: 100%, block: all } } }
margin: { review: Monday 08:00 }
";

#[test]
fn a_folder_becomes_one_file_that_says_what_it_leaves_out() {
    let folder = Folder::of(&[
        ("policies/a.yaml", HEAD),
        ("policies/b.yaml", BUDGETS),
        ("policies/c.yaml", LADDERS),
        ("policies/c_test.yaml", "tests: [nothing of a policy]"),
    ]);
    let printed = folder.run(&["print"]);
    assert_eq!((printed.code, printed.note.as_str()), (0, ""));
    insta::assert_snapshot!(printed.out, @r"
    # left out, not in force yet: margin.review
    # left out, has ended: the exception of line 5 in b.yaml
    version: 1
    mode: enforce
    currency: USD
    exchange: { EUR: 1.08 USD }
    timezone: Europe/Berlin

    defaults:
      on_missing_tenant: meter_as_unattributed
      on_unpriced_model: meter_tokens_only
      on_no_fit: clamp
      on_ledger_unavailable: { allow: all }
      expose_to_clients: { budget: percent, cost: never }

    budgets:
      all:
        per: [tenantId]
        limit: $12.96/month
        escalation: stop

    escalations:
      stop:
        contain: { at: 100%, block: all }
    ");
    let other = Folder::of(&[("policies/policy.yaml", &printed.out)]);
    let again = other.run(&["print", "policies"]);
    let said = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!((again.code, said(&again.out)), (0, said(&printed.out)));
    let plan = folder.run(&["plan", "policies", "--against", &other.path().join("policies").display().to_string()]);
    assert_eq!(plan.code, 0, "{}{}", plan.out, plan.note);
}

#[test]
fn the_shipped_folders_are_printed_and_pass_their_own_tests() {
    for shipped in ["policies", "policies/advanced"] {
        let path = root().join(shipped);
        let printed = run(&root(), &["print", shipped]);
        assert_eq!((printed.code, printed.note.as_str()), (0, ""), "{shipped}");
        let folder = Folder::of(&[("policies/policy.yaml", &printed.out)]);
        for file in std::fs::read_dir(&path).expect("a folder").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with("_test.yaml") {
                let text = std::fs::read_to_string(file.path()).expect("tests");
                folder.write(&format!("policies/{name}"), &text);
            }
        }
        let tested = folder.run(&["test", "policies"]);
        assert_eq!(tested.code, 0, "{shipped}\n{}{}", tested.out, tested.note);
    }
}

#[test]
fn nothing_is_printed_of_a_policy_that_is_broken_or_not_there() {
    let folder = Folder::of(&[("policies/a.yaml", HEAD), ("policies/b.yaml", BUDGETS)]);
    let broken = folder.run(&["print"]);
    assert_eq!((broken.code, broken.out.as_str()), (1, ""));
    insta::assert_snapshot!(broken.note, @r"
    error[E131]: escalation `stop` is not defined
     --> b.yaml:2:60
      |
    2 |   all: { per: [tenantId], limit: 12 EUR/month, escalation: stop }
      |                                                            ^^^^ used here
    ");
    let missing = folder.run(&["print", "elsewhere"]);
    assert_eq!((missing.code, missing.out.as_str()), (2, ""));
    insta::assert_snapshot!(missing.note, @"error: `elsewhere` holds no policy (*.yaml)");
}

// Two files that are each just small enough are too large together.
#[test]
fn a_policy_that_cannot_stand_in_one_file_is_not_printed() {
    let words = "x".repeat(3 << 20);
    let plan = |name: &str| format!("plans: {{ {name}: {{ message: {words} }} }}\n");
    let folder =
        Folder::of(&[("policies/a.yaml", HEAD), ("policies/b.yaml", &plan("one")), ("policies/c.yaml", &plan("two"))]);
    let printed = folder.run(&["print"]);
    assert_eq!((printed.code, printed.out.as_str()), (1, ""));
    insta::assert_snapshot!(printed.note.lines().take(2).collect::<Vec<_>>().join("\n"), @r"
    error: these policies cannot stand in one file:
    error[E002]: `printed.yaml` is larger than 4 MiB
    ");
}
