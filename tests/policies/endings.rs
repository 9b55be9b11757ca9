//! The end of an exception: who approved it, who hears of it, and what `check` says beforehand.

use super::{compile_text, policy};

fn exception(rest: &str) -> String {
    format!(
        "version: 1\nmode: enforce\ntimezone: Europe/Berlin\nbudgets:\n  b: {{ per: [tenantId], limit: $1/day, escalation: {{ contain: {{ at: 100%, block: all }} }} }}\n\
         exceptions:\n  - tenantId: globex\n    budget: b\n    never: [block]\n    reason: partner\n{rest}"
    )
}

const APPROVED: &str = "    approved_by: [dana@example.com, cfo@example.com]\n";

#[test]
fn several_people_may_approve_and_somebody_must() {
    let text = exception(&format!("{APPROVED}    expires: 2027-01-31\n"));
    let policy = policy(&text);
    let approved: Vec<&str> = policy.exceptions[0].approved_by.iter().map(AsRef::as_ref).collect();
    assert_eq!(approved, ["dana@example.com", "cfo@example.com"]);
    let nobody = exception("    approved_by: []\n    expires: 2027-01-31\n");
    assert!(compile_text(&nobody).0.diagnostics.iter().any(|one| one.code == "E162"));
}

#[test]
fn an_exception_that_ends_within_its_own_notice_is_a_warning() {
    let ends = |date: &str| {
        let rest = format!(
            "{APPROVED}    expires: {date}\n    when_expired: {{ notify: [account_owner, finance], before: 14 days }}\n"
        );
        compile_text(&exception(&rest)).1
    };
    // The present is noon of 25 November: the day of 8 December ends thirteen and a half days later.
    assert_eq!(ends("2026-12-09"), "");
    insta::assert_snapshot!(ends("2026-12-08"), @r"
    warning[W166]: this exception ends in 13 days
      --> policy.yaml:12:14
       |
    12 |     expires: 2026-12-08
       |              ^^^^^^^^^^
       = note: after it globex is measured against its normal rules
       = help: extend it with a new approval, or let it end
    ");
    insta::assert_snapshot!(ends("2026-11-25"), @r"
    warning[W166]: this exception ends today
      --> policy.yaml:12:14
       |
    12 |     expires: 2026-11-25
       |              ^^^^^^^^^^
       = note: after it globex is measured against its normal rules
       = help: extend it with a new approval, or let it end
    ");
    assert!(ends("2026-11-24").contains("W163"), "over");
    let silent = exception(&format!("{APPROVED}    expires: 2026-11-26\n"));
    assert_eq!(compile_text(&silent).1, "", "nobody asked for a notice");
}

#[test]
fn a_notice_needs_somebody_to_go_to() {
    let rest = format!("{APPROVED}    expires: 2027-01-31\n    when_expired: {{ befor: 14 days, notify: nobody }}\n");
    insta::assert_snapshot!(compile_text(&exception(&rest)).1, @r#"
    error[E104]: unknown key `befor` in `when_expired`
      --> policy.yaml:13:21
       |
    13 |     when_expired: { befor: 14 days, notify: nobody }
       |                     ^^^^^ not a key of when_expired
       = help: did you mean `before`?
       = valid here: notify, before

    warning[W133]: notify target `nobody` is not defined
      --> policy.yaml:13:45
       |
    13 |     when_expired: { befor: 14 days, notify: nobody }
       |                                             ^^^^^^
       = help: add `"nobody": { webhook: "https://…" }` under `notify:` in plimsoll.yaml
    "#);
    let rest = format!("{APPROVED}    expires: 2027-01-31\n    when_expired: {{ before: 14 }}\n");
    insta::assert_snapshot!(compile_text(&exception(&rest)).1, @r"
    error[E105]: `when_expired` has no `notify`
      --> policy.yaml:13:21
       |
    13 |     when_expired: { before: 14 }
       |                     ^^^^^^^^^^
       = help: add `notify: [account_owner]`

    error[E114]: `14` is not a duration
      --> policy.yaml:13:29
       |
    13 |     when_expired: { before: 14 }
       |                             ^^
       = help: write `2 days`, `10 min` or `1 hour`
    ");
}
