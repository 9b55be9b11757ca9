//! `plimsoll check` and `plimsoll explain` as they are run: what they print, where, and how they exit.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::policies::{MINIMAL, REALISTIC};

mod live;

const TENANTS: &str = include_str!("../policies/tenants.csv");

/// A folder that holds `policies/policy.yaml` and `policies/tenants.csv`.
pub(crate) fn folder(policy: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("policies")).expect("a folder");
    fs::write(folder.path().join("policies/policy.yaml"), policy).expect("a policy");
    fs::write(folder.path().join("policies/tenants.csv"), TENANTS).expect("tenants");
    folder
}

pub(crate) fn plimsoll(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(words).current_dir(folder).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command.output().expect("a process that ends")
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON value on stdout")
}

#[test]
fn a_clean_policy_is_one_line_on_stdout() {
    let folder = folder(MINIMAL);
    let output = plimsoll(folder.path(), &["check"]);
    let (line, taken) =
        out(&output).rsplit_once("  (").map(|(line, taken)| (line.to_owned(), taken.to_owned())).expect("a time");
    assert_eq!(line, "policy.yaml ok: 1 budget, 0 escalations, 0 exceptions, 3 tenants covered, 5 warnings");
    assert!(taken.ends_with(" ms)\n"), "{taken}");
    assert_eq!(output.status.code(), Some(0), "warnings do not fail a check");
}

#[test]
fn errors_are_rendered_plainly_through_a_pipe_and_in_colour_when_it_is_forced() {
    let folder = folder(&REALISTIC.replace("    limit: $20/month", "    limit: $20"));
    let output = plimsoll(folder.path(), &["check"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""));
    insta::assert_snapshot!(err(&output), @r"
    error[E121]: `$20` has no period
      --> policy.yaml:35:12
       |
    35 |     limit: $20
       |            ^^^ per what?
       = help: write `$20/month` (minute, hour, day, week, month, workflow, or `rolling 1 hour`)

    note: notify targets were not checked: name the boot configuration with `--config FILE`
    policy.yaml: 1 error; `plimsoll explain E121` says more
    ");
    let words = ["check", "--output", "text"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(words).current_dir(folder.path()).env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR");
    let coloured = command.output().expect("a process that ends");
    assert!(err(&coloured).contains("\u{1b}[1;31merror[E121]"), "{}", err(&coloured));
    let quiet = command.env("NO_COLOR", "1").output().expect("a process that ends");
    assert!(!err(&quiet).contains('\u{1b}'));
}

#[test]
fn programs_get_every_finding_and_people_twenty() {
    let mut text = String::from("version: 1\nmode: enforce\nplans:\n");
    for number in 0..25 {
        let _ = writeln!(text, "  p{number}: {{ llm_budget: $1 }}");
    }
    let folder = folder(&text);
    let people = plimsoll(folder.path(), &["check"]);
    assert_eq!(err(&people).matches("error[").count(), 20);
    assert!(err(&people).contains("… and 5 more\n"), "{}", err(&people));
    let programs = plimsoll(folder.path(), &["check", "-o", "json"]);
    assert_eq!(json(&programs)["diagnostics"].as_array().map(Vec::len), Some(25));
    let lines: Vec<u64> = json(&programs)["diagnostics"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["place"]["line"].as_u64())
        .collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn the_json_form_is_stable() {
    let folder = folder(&REALISTIC.replace("escalation: standard", "escalation: standrad"));
    let output = plimsoll(folder.path(), &["check", "-o", "json"]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(1), ""));
    insta::assert_snapshot!(out(&output), @r#"
    {
      "diagnostics": [
        {
          "code": "E131",
          "help": [
            "did you mean `standard`?"
          ],
          "label": "used here",
          "message": "escalation `standrad` is not defined",
          "notes": [],
          "place": {
            "column": 17,
            "file": "policies/policy.yaml",
            "length": 8,
            "line": 31
          },
          "related": [
            [
              {
                "column": 3,
                "file": "policies/policy.yaml",
                "length": 8,
                "line": 53
              },
              "a similar name is defined here"
            ]
          ],
          "severity": "error"
        }
      ],
      "errors": 1,
      "ok": false,
      "policy": null,
      "version": 1,
      "warnings": 0
    }
    "#);
    let folder = self::folder(MINIMAL);
    let found = json(&plimsoll(folder.path(), &["check", "-o", "json"]));
    assert_eq!((&found["version"], &found["ok"], &found["errors"]), (&1.into(), &true.into(), &0.into()));
    insta::assert_snapshot!(found["policy"].to_string(), @r#"{"budgets":1,"covered":3,"escalations":0,"exceptions":0,"tenants":3}"#);
}

#[test]
fn github_and_sarif_name_files_from_where_they_were_run() {
    let folder = folder(&REALISTIC.replace("    limit: $20/month", "    limit: $20"));
    let github = plimsoll(folder.path(), &["check", "policies", "-o", "github"]);
    assert_eq!(github.status.code(), Some(1));
    insta::assert_snapshot!(out(&github), @"::error file=policies/policy.yaml,line=35,col=12,endColumn=15,title=E121::`$20` has no period (per what?)%0Ahelp: write `$20/month` (minute, hour, day, week, month, workflow, or `rolling 1 hour`)");
    let sarif = json(&plimsoll(folder.path(), &["check", "policies", "-o", "sarif"]));
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "policies/policy.yaml");
    assert_eq!(
        sarif["runs"][0]["tool"]["driver"]["rules"][0]["shortDescription"]["text"],
        "an amount without a period"
    );
}

#[test]
fn the_configuration_says_who_may_be_told_and_what_models_cost() {
    let policy = "version: 1\nmode: enforce\nroutes: { r: { house-large: house-small } }\nbudgets:\n  a: { limit: $1/day, escalation: { warning: { at: 80%, notify: [finance] } } }\n";
    let folder = folder(policy);
    let without = plimsoll(folder.path(), &["check"]);
    assert!(err(&without).contains("note: notify targets were not checked"), "{}", err(&without));
    assert!(err(&without).contains("warning[W152]"), "{}", err(&without));
    fs::write(
        folder.path().join("house.yaml"),
        "version: 1\nmodels:\n  house-large: { input: 2, output: 2 }\n  house-small: { input: 1, output: 1 }\n",
    )
    .expect("prices");
    // A secret that is not set here is no obstacle: no secret is needed to check a policy.
    let config = "prices: [house.yaml]\nnotify: { oncall: { webhook: \"${UNSET_HERE}\" } }\nkeys: [{ name: a, secret: \"${UNSET_TOO}\", tenants: any }]\n";
    fs::write(folder.path().join("plimsoll.yaml"), config).expect("a configuration");
    let with = plimsoll(folder.path(), &["check"]);
    assert!(err(&with).contains("warning[W133]: notify target `finance` is not defined"), "{}", err(&with));
    assert!(!err(&with).contains("W152") && !err(&with).contains("not checked"), "{}", err(&with));
    fs::write(folder.path().join("other.yaml"), config.replace("oncall", "finance")).expect("a configuration");
    let named = plimsoll(folder.path(), &["check", "--config", "other.yaml"]);
    assert!(!err(&named).contains("W133"), "{}", err(&named));
}

#[test]
fn what_cannot_be_read_is_neither_fine_nor_a_finding() {
    let folder = tempfile::tempdir().expect("a folder");
    for words in [
        &["check", "nowhere"][..],
        &["check", "--config", "nowhere.yaml"],
        &["check", "-o", "xml"],
        &["explain", "banana"],
        &["explain", "E999"],
    ] {
        let output = plimsoll(folder.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", err(&output));
        assert!(!err(&output).is_empty() && out(&output).is_empty(), "{words:?}");
    }
}

#[test]
fn explain_prints_the_page_of_a_code_for_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = plimsoll(folder.path(), &["explain", "e143"]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    insta::assert_snapshot!(out(&output), @r"
    E143: `block` beside `otherwise`

    `otherwise` says what applies when nobody has answered in time, and `block` in the same step refuses at once. Together the answer
    would never matter.

    Wrong

        version: 1
        mode: enforce
        budgets:
          tenant_month:
            per: [tenantId]
            limit: $50/month
            escalation:
              decide: { at: 125%, ask: account_owner, within: 2 days, block: all, otherwise: { block: all } }

    Right

        version: 1
        mode: enforce
        budgets:
          tenant_month:
            per: [tenantId]
            limit: $50/month
            escalation:
              decide: { at: 125%, ask: account_owner, within: 2 days, otherwise: { block: all } }
    ");
    let unknown = plimsoll(folder.path(), &["explain", "E192"]);
    assert_eq!(err(&unknown), "error: no diagnostic has the code `E192`; write it as it is shown: `error[E104]`\n");
}
