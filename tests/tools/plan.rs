//! `plimsoll plan` and `plimsoll apply`.

use std::fs;

use serde_json::{Value, json};

use super::{Folder, Ran, run};
use crate::harness::{Rig, Setup};

const OLD: &str = "version: 1
mode: enforce
timezone: Europe/Berlin
plans:
  growth: { llm_budget: $150/month, target_margin: 70% }
segments:
  careful: { never: [route] }
endpoints: { digest.*: { critical: false } }
routes: { cheaper: { gpt-4o: gpt-4o-mini } }
budgets:
  tenant_month: { per: [tenantId], limit: plan.llm_budget, grace: 30%, escalation: standard }
  demos: { match: { dataMode: [demo, test] }, limit: $50/day, escalation: standard }
  gone: { limit: 2M tokens/day, escalation: { warning: { at: 80%, notify: [log] } } }
escalations:
  standard:
    warning: { at: 80%, notify: [log] }
    contain: { at: 100%, cap_output_tokens: 600 }
    degrade: { at: 110%, route: { non_critical: cheaper } }
    decide: { at: 125%, ask: account_owner, within: 2 days, otherwise: { block: non_critical } }
exceptions:
  - { tenantId: globex, budget: tenant_month, limit: $900/month, reason: pilot, approved_by: dana, expires: 2030-01-31 }
";

/// The policy to be.
fn fresh() -> String {
    let text = OLD
        .replace("$150/month", "$120/month")
        .replace("critical: false }", "critical: true }")
        .replace("  gone: { limit: 2M tokens/day, escalation: { warning: { at: 80%, notify: [log] } } }\n", "")
        .replace(
            "contain: { at: 100%, cap_output_tokens: 600 }",
            "contain: { at: 95%, cap_output_tokens: 600, throttle: 20 requests/min }",
        )
        .replace("grace: 30%, ", "")
        .replace("$900/month", "$800/month");
    let quota = "  digest_quota: { per: [tenantId], match: { endpointTag: digest.*, not: { segment: careful } }, limit: $20/month, escalation: { contain: { at: 100%, block: all } } }\n";
    text.replace("escalations:\n", &format!("{quota}escalations:\n"))
}

#[test]
fn two_folders_are_compared_by_what_they_say() {
    let folder = Folder::of(&[("old/policy.yaml", OLD), ("new/policy.yaml", &fresh())]);
    let ran = folder.run(&["plan", "new", "--against", "old"]);
    assert_eq!((ran.code, ran.note.as_str()), (3, ""));
    let text = ran.out.split("\n\nplanned against").next().expect("a plan");
    insta::assert_snapshot!(text, @r"
      ~ plans.growth                       llm_budget  $150/month → $120/month                                                          policy.yaml:5
      ~ endpoints.digest.*                 critical    false → true                                                                     policy.yaml:8
      + budgets.digest_quota                           $20/month per tenantId on endpointTag digest.*, not (segment careful)            policy.yaml:13
      - budgets.gone                                   2000000 tokens/day                                                               policy.yaml:13
      ~ budgets.tenant_month               grace       - 30%                                                                            policy.yaml:11
      ~ escalations.standard               contain     at 100%: cap 600 output tokens → at 95%: cap 600 output tokens; 20 requests/min  policy.yaml:16
      ~ exceptions.globex on tenant_month  limit       $900/month → $800/month                                                          policy.yaml:21
      (3 unchanged sections)

    No ledger is at hand: who changes step is not known.
    ");
    let full = folder.run(&["plan", "new", "--against", "old", "--full"]);
    for says in ["  + budgets.digest_quota", "contain     at 100%: block all requests", "  = routes", "  = segments"] {
        assert!(full.out.contains(says), "{says} in\n{}", full.out);
    }
}

#[test]
fn order_files_comments_and_places_change_nothing() {
    let (head, budgets) = OLD.split_once("budgets:\n").expect("budgets");
    let (budgets, rest) = budgets.split_once("escalations:\n").expect("escalations");
    let mut lines: Vec<&str> = budgets.lines().collect();
    lines.reverse();
    let folder = Folder::of(&[
        ("old/policy.yaml", OLD),
        ("new/budgets.yaml", &format!("# Moved here.\nbudgets:\n{}\n", lines.join("\n"))),
        ("new/policy.yaml", &format!("{head}escalations:\n{rest}")),
        ("broken/policy.yaml", "version: 1\nmode: maybe\n"),
    ]);
    let ran = folder.run(&["plan", "new", "--against", "old"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.starts_with("no changes: the files say what `"), "{}", ran.out);
    let ran = folder.run(&["plan", "broken", "--against", "old"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.note.contains("error[E111]: `maybe` is not a value of `mode`\n --> policy.yaml:2:7"), "{}", ran.note);
    for (arguments, says) in [
        (&["plan", "new"][..], "<--url <URL>|--against <FOLDER>>"),
        (&["plan", "nowhere", "--against", "old"], "`nowhere` holds no policy"),
        (&["plan", "new", "--url", "http://127.0.0.1:9"], "cannot be asked"),
        (&["apply", "new", "--url", "http://127.0.0.1:9"], "--expect"),
        (&["apply", "new", "--expect", "r1 9f3c1ae"], "name the gateway with `--url"),
        (&["apply", "new", "--url", "http://127.0.0.1:9", "--expect", "r1"], "give all of it"),
        (&["apply", "new", "--plan", "old/policy.yaml", "--url", "http://127.0.0.1:9"], "is no plan"),
    ] {
        let Ran { code, note, .. } = folder.run(arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(note.contains(says), "{arguments:?}: {note}");
    }
}

const RUNNING: &str = "version: 1
mode: enforce
plans: { growth: { llm_budget: $0.03/month } }
endpoints: { digest.*: { critical: false } }
budgets:
  tenant_month: { per: [tenantId], limit: plan.llm_budget, escalation: standard }
escalations:
  standard:
    warning: { at: 90%, notify: [log] }
    contain: { at: 100%, cap_output_tokens: 600 }
    decide: { at: 150%, ask: account_owner, within: 2 days, otherwise: { block: non_critical } }
";

const TENANTS: &str = "tenantId,plan,account_owner\nglobex,growth,dana@example.com\ninitech,growth,\n";

/// A gateway whose tenant has spent about 68 % of three cents, half of it on a critical endpoint.
async fn busy() -> (Rig, String) {
    let rig = Rig::start(Setup { policy: Some(RUNNING), tenants: Some(TENANTS), ..Setup::default() }).await;
    let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "[[tokens=1000]]" }] });
    for tag in ["digest.weekly", "checkout"] {
        let id = rig.chat("globex", tag, &body).await.header("plimsoll-request-id").to_owned();
        rig.rows(&id).await;
    }
    let url = format!("http://{}", rig.node.admin_address());
    (rig, url)
}

async fn revision(rig: &Rig) -> String {
    rig.admin("/api/v1/policy").await.json()["revision"].as_str().expect("a revision").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_who_changes_step_with_the_counters_of_now() {
    let (rig, url) = busy().await;
    let folder = Folder::of(&[("policies/policy.yaml", &RUNNING.replace("$0.03", "$0.013"))]);
    let ran = folder.run(&["plan", "--url", &url]);
    assert_eq!(ran.code, 3, "{}", ran.note);
    for says in [
        "~ plans.growth  llm_budget  $0.03/month → $0.013/month  policy.yaml:3",
        "ok → decide  cap 600 output tokens, dana@example.com will be asked, 1 notification",
        "  0 requests on critical endpoints would be refused",
        "planned against r1 ",
    ] {
        assert!(ran.out.contains(says), "{says} in\n{}", ran.out);
    }
    assert!(!ran.out.contains("initech"), "{}", ran.out);
    // A budget that is new counts what was spent before, and refuses what is critical too.
    let stop = RUNNING.replace(
        "escalations:\n",
        "  all: { limit: $0.01/day, escalation: { contain: { at: 100%, block: all } } }\nescalations:\n",
    );
    folder.write("policies/policy.yaml", &stop);
    let ran = folder.run(&["plan", "--url", &url, "-o", "json"]);
    let plan: Value = serde_json::from_str(&ran.out).expect("one JSON object");
    assert_eq!((ran.code, &plan["critical_refused"]), (3, &json!(1)), "{plan}");
    assert_eq!(plan["moves"][0]["tenantId"], Value::Null);
    assert_eq!(plan["moves"][0]["step_after"], "contain");
    assert!(plan["moves"][0]["used_percent_after"].as_u64().is_some_and(|percent| percent >= 200), "{plan}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_planned_is_applied_and_nothing_else() {
    let (rig, url) = busy().await;
    let (head, budgets) = RUNNING.split_once("budgets:\n").expect("budgets");
    let folder = Folder::of(&[
        ("policies/head.yaml", head),
        ("policies/budgets.yaml", &format!("budgets:\n{}", budgets.replace("at: 90%", "at: 80%"))),
        ("policies/head_test.yaml", "not read"),
    ]);
    let first = revision(&rig).await;
    assert_eq!(folder.run(&["plan", "--url", &url, "--out", "plan.json"]).code, 3);
    // Files that changed since, and a revision that does not run, are refused; nothing happens.
    folder.write("policies/head.yaml", &head.replace("enforce", "dry_run"));
    let ran = folder.run(&["apply", "--url", &url, "--plan", "plan.json"]);
    assert_eq!((ran.code, ran.note.contains("the files are not those that were planned")), (1, true), "{}", ran.note);
    let ran = folder.run(&["apply", "--url", &url, "--expect", &first.replace("r1 ", "r7 ")]);
    assert_eq!(ran.code, 1);
    assert!(ran.note.contains(&format!("not applied: `{first}` runs")), "{}", ran.note);
    assert_eq!(revision(&rig).await, first);
    folder.write("policies/head.yaml", head);
    let ran = folder.run(&["apply", "--url", &url, "--plan", "plan.json"]);
    assert_eq!(ran.code, 0, "{}", ran.note);
    let second = revision(&rig).await;
    assert_eq!(ran.out, format!("{second} is in force"));
    assert!(second.starts_with("r2 "), "{second}");
    // Its files are those of the folder; what is no policy stays, and the watcher finds nothing new.
    let mut names: Vec<String> = fs::read_dir(rig.folder.path().join("policies"))
        .expect("a folder")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    assert_eq!(names, ["budgets.yaml", "head.yaml", "tenants.csv"]);
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(revision(&rig).await, second);
    // The same plan once more is too late.
    assert_eq!(folder.run(&["plan", "--url", &url]).code, 0);
    assert_eq!(folder.run(&["apply", "--url", &url, "--plan", "plan.json"]).code, 1);
    // A policy that only the gateway finds wrong is refused there.
    let wrong = Folder::of(&[("policies/policy.yaml", RUNNING)]);
    fs::write(rig.folder.path().join("policies/tenants.csv"), "tenantId\n\"x\n").expect("tenants");
    let ran = wrong.run(&["apply", "--url", &url, "--expect", second.split(' ').nth(1).expect("a digest")]);
    assert_eq!((ran.code, ran.note.contains("tenants.csv:2:1: error[E173]")), (1, true), "{}", ran.note);
    assert_eq!(revision(&rig).await, second);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_planned_against_one_revision_one_is_refused() {
    let (rig, url) = busy().await;
    let first = revision(&rig).await;
    let folders: Vec<Folder> = ["$0.04", "$0.05", "$0.06", "$0.07"]
        .iter()
        .map(|limit| Folder::of(&[("policies/policy.yaml", &RUNNING.replace("$0.03", limit))]))
        .collect();
    let mut codes: Vec<i32> = std::thread::scope(|scope| {
        let runs: Vec<_> = folders
            .iter()
            .map(|folder| scope.spawn(|| run(folder.path(), &["apply", "--url", &url, "--expect", &first]).code))
            .collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    codes.sort_unstable();
    assert_eq!(codes, [0, 1, 1, 1]);
    rig.stop().await;
}
