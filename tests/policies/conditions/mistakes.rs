//! What is wrong with a condition, in the words that people are told, and texts that are meant to do harm.

use std::time::{Duration, Instant};

use super::read;
use crate::policies::compile_text;

/// What is said of a scalar of YAML behind `when:`.
fn told(scalar: &str) -> String {
    let text = format!(
        "version: 1
mode: enforce
plans: {{ starter: {{ llm_budget: $12/month }}, growth: {{ llm_budget: $60/month }} }}
budgets:
  agents:
    match:
      when: {scalar}
    limit: $50/month
    escalation: {{ contain: {{ at: 100%, block: all }} }}
"
    );
    let (compiled, shown) = compile_text(&text);
    assert_eq!(compiled.policy.is_none(), !shown.is_empty(), "{shown}");
    shown
}

#[test]
fn every_wrong_name_is_shown_in_one_run_with_what_was_meant() {
    insta::assert_snapshot!(told("endpointtag != 'x' && plan.startswith('a') && tenantId == acme"), @r"
    error[E182]: unknown name `endpointtag`
     --> policy.yaml:7:13
      |
    7 |       when: endpointtag != 'x' && plan.startswith('a') && tenantId == acme
      |             ^^^^^^^^^^^
      = help: did you mean `endpointTag`?
      = a condition knows: tenantId, plan, segment, endpointTag, promptVersion, dataMode, environment, userId, workflowId, provider, model

    error[E182]: unknown function `startswith`
     --> policy.yaml:7:40
      |
    7 |       when: endpointtag != 'x' && plan.startswith('a') && tenantId == acme
      |                                        ^^^^^^^^^^
      = help: did you mean `startsWith`?
      = functions: startsWith, endsWith, contains, matches, size, exists, all

    error[E182]: unknown name `acme`
     --> policy.yaml:7:71
      |
    7 |       when: endpointtag != 'x' && plan.startswith('a') && tenantId == acme
      |                                                                       ^^^^
      = help: write `'acme'` if it is a text
      = a condition knows: tenantId, plan, segment, endpointTag, promptVersion, dataMode, environment, userId, workflowId, provider, model
    ");
}

#[test]
fn values_that_the_policy_does_not_know_are_of_no_call() {
    insta::assert_snapshot!(told("plan == 'enterprize' || environment != 'production' || plan in ['starter', 'grwth']"), @r"
    error[E131]: plan `enterprize` is not defined
     --> policy.yaml:7:21
      |
    7 |       when: plan == 'enterprize' || environment != 'production' || plan in ['starter', 'grwth']
      |                     ^^^^^^^^^^^^
      = help: define it under `plans:`

    error[E111]: `production` is not a value of `environment`
     --> policy.yaml:7:52
      |
    7 |       when: plan == 'enterprize' || environment != 'production' || plan in ['starter', 'grwth']
      |                                                    ^^^^^^^^^^^^
      = help: write one of: prod, staging, dev

    error[E131]: plan `grwth` is not defined
     --> policy.yaml:7:88
      |
    7 |       when: plan == 'enterprize' || environment != 'production' || plan in ['starter', 'grwth']
      |                                                                                        ^^^^^^^
      = help: did you mean `growth`?
    ");
    assert_eq!(told("plan == '' || segment != '' || dataMode in ['demo', 'test']"), "", "what is absent is empty");
}

#[test]
fn loops_and_choices_know_what_plans_there_are_too() {
    insta::assert_snapshot!(told("\"['growht', 'starter'].exists(p, plan == p || plan != p)\""), @r#"
    error[E131]: plan `growht` is not defined
     --> policy.yaml:7:15
      |
    7 |       when: "['growht', 'starter'].exists(p, plan == p || plan != p)"
      |               ^^^^^^^^
      = help: did you mean `growth`?
    "#);
    insta::assert_snapshot!(told("\"(userId == '' ? plan : segment) == 'growht'\""), @r#"
    error[E131]: plan `growht` is not defined
     --> policy.yaml:7:49
      |
    7 |       when: "(userId == '' ? plan : segment) == 'growht'"
      |                                                 ^^^^^^^^
      = help: did you mean `growth`?
    "#);
    insta::assert_snapshot!(told("\"plan in ['starter'] && plan != (userId == '' ? 'grwth' : 'growth')\""), @r#"
    error[E131]: plan `grwth` is not defined
     --> policy.yaml:7:61
      |
    7 |       when: "plan in ['starter'] && plan != (userId == '' ? 'grwth' : 'growth')"
      |                                                             ^^^^^^^
      = help: did you mean `growth`?
    "#);
    for fine in [
        "(userId == '' ? plan : model) == 'gpt-4o'",
        "['', 'starter'].all(p, plan != p)",
        "['gpt-4o'].exists(m, model == m)",
        "plan.startsWith('grwth')",
        "dataMode == '_invalid' || environment in ['_invalid']",
    ] {
        assert_eq!(told(&format!("\"{fine}\"")), "", "{fine}");
    }
}

#[test]
fn types_are_told_at_the_value_that_was_written_out() {
    insta::assert_snapshot!(told("size(plan) == '3' || plan == 3 || userId && plan < true"), @r"
    error[E183]: a number is not compared with a text
     --> policy.yaml:7:27
      |
    7 |       when: size(plan) == '3' || plan == 3 || userId && plan < true
      |                           ^^^ a text; `size(plan)` is a number
      = help: write `3`

    error[E183]: a text is not compared with a number
     --> policy.yaml:7:42
      |
    7 |       when: size(plan) == '3' || plan == 3 || userId && plan < true
      |                                          ^ a number; `plan` is a text
      = help: write `'3'`

    error[E183]: `&&` joins what is true or false
     --> policy.yaml:7:47
      |
    7 |       when: size(plan) == '3' || plan == 3 || userId && plan < true
      |                                               ^^^^^^ this is a text
      = help: write `userId == '…'`

    error[E183]: a text is not compared with true or false
     --> policy.yaml:7:64
      |
    7 |       when: size(plan) == '3' || plan == 3 || userId && plan < true
      |                                                                ^^^^ true or false; `plan` is a text
    ");
    insta::assert_snapshot!(told("\"!plan == 'starter'\""), @r#"
    error[E183]: `!` turns true and false round, and nothing else
     --> policy.yaml:7:15
      |
    7 |       when: "!plan == 'starter'"
      |               ^^^^ this is a text
      = help: write `plan != '…'`
    "#);
}

#[test]
fn what_other_languages_write_is_told_in_cel() {
    insta::assert_snapshot!(told("plan = 'starter'"), @r"
    error[E181]: `=` is no operator
     --> policy.yaml:7:18
      |
    7 |       when: plan = 'starter'
      |                  ^
      = help: write `==`
    ");
    insta::assert_snapshot!(told("\"userId == '' and workflowId == ''\""), @r#"
    error[E181]: `and` cannot stand here
     --> policy.yaml:7:27
      |
    7 |       when: "userId == '' and workflowId == ''"
      |                           ^^^
      = help: write `&&`
    "#);
    insta::assert_snapshot!(told("size(plan) + 1 > 3"), @r"
    error[E182]: a condition compares and does not calculate
     --> policy.yaml:7:24
      |
    7 |       when: size(plan) + 1 > 3
      |                        ^ not part of conditions
    ");
    insta::assert_snapshot!(told("match.plan == 'starter'"), @r"
    error[E182]: nothing in a condition has fields
     --> policy.yaml:7:13
      |
    7 |       when: match.plan == 'starter'
      |             ^^^^^^^^^^ not a dimension
      = help: write `plan`
    ");
}

#[test]
fn what_never_varies_limits_nobody_or_everybody() {
    insta::assert_snapshot!(told("plan == 'starter' || true"), @r"
    error[E185]: this is true of every call
     --> policy.yaml:7:13
      |
    7 |       when: plan == 'starter' || true
      |             ^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: leave `when` out
    ");
    insta::assert_snapshot!(told("model != model"), @r"
    error[E185]: this is true of no call
     --> policy.yaml:7:13
      |
    7 |       when: model != model
      |             ^^^^^^^^^^^^^^
      = help: ask for a dimension: `endpointTag != ''`
    ");
}

#[test]
fn what_costs_too_much_is_refused_when_it_is_loaded() {
    let tens = "['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a']";
    insta::assert_snapshot!(told(&format!("\"{tens}.exists(x, {tens}.exists(y, x < model && model < y && x != y))\"")), @r#"
    error[E184]: this can take 300 steps per call, and 200 are the most
     --> policy.yaml:7:65
      |
    7 |       when: "['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'].exists(x, ['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'].exists(y, x < m…
      |                                                                 ^^^^^^
      = help: shorten the lists, or use the fields of `match`, which hold any number of patterns
    "#);
    insta::assert_snapshot!(told("model.matches('a{1000}{1000}')"), @r"
    error[E184]: this pattern would become too large
     --> policy.yaml:7:27
      |
    7 |       when: model.matches('a{1000}{1000}')
      |                           ^^^^^^^^^^^^^^^
      = help: use smaller counts, and no classes of all languages, such as `\p{L}`
    ");
}

#[test]
fn a_block_has_its_places_line_by_line_and_a_folded_one_names_the_part() {
    insta::assert_snapshot!(told("|\n        userId == ''\n          && plan == 'starte'"), @r"
    error[E131]: plan `starte` is not defined
     --> policy.yaml:9:22
      |
    9 |           && plan == 'starte'
      |                      ^^^^^^^^
      = help: did you mean `starter`?
    ");
    insta::assert_snapshot!(told(">-\n        plan == 'starter' &&\n        usreId == ''"), @r"
    error[E182]: unknown name `usreId`
     --> policy.yaml:8:9
      |
    8 |         plan == 'starter' &&
      |         ^^^^^^^^^^^^^^^^^^^^
      = note: the wrong part is `usreId`
      = help: did you mean `userId`?
      = a condition knows: tenantId, plan, segment, endpointTag, promptVersion, dataMode, environment, userId, workflowId, provider, model
    ");
    insta::assert_snapshot!(told(r#""plan == \"starte\"""#), @r#"
    error[E131]: plan `starte` is not defined
     --> policy.yaml:7:13
      |
    7 |       when: "plan == \"starte\""
      |             ^^^^^^^^^^^^^^^^^^^^
      = note: the wrong part is `"starte"`
      = help: did you mean `starter`?
    "#);
}

#[test]
fn yaml_that_takes_a_condition_apart_says_to_quote_it() {
    assert!(told("!plan.contains('a')").contains("= help: put the value in quotes"));
    assert!(told("userId == '' ? plan == 'a' : plan == 'b'").contains("= help: put a value that holds `: ` in quotes"));
}

/// The code of the first fault, and where it is.
fn first(text: &str) -> (&'static str, usize, usize, String) {
    let faults = read(text).err().unwrap_or_default();
    let fault = faults.first().unwrap_or_else(|| unreachable!("{text}"));
    (fault.code, fault.stretch.start, fault.stretch.length, fault.message.clone())
}

#[test]
fn every_other_slip_has_its_code_and_its_characters() {
    for (text, code, start, length) in [
        ("", "E181", 0, 1),
        ("plan ==", "E181", 5, 2),
        ("plan == 'a", "E181", 8, 2),
        ("(plan == 'a'", "E181", 9, 3),
        ("plan == 'a')", "E181", 11, 1),
        ("plan == 'a' // no", "E181", 12, 2),
        ("plan == '''a'''", "E182", 8, 3),
        ("plan == b'a'", "E182", 8, 1),
        ("plan == '\\q'", "E181", 9, 2),
        ("plan == '\\u12'", "E181", 9, 4),
        ("plan == 'ä' && plän == ''", "E181", 17, 1),
        ("plan & 'a'", "E181", 5, 1),
        ("plan == null", "E182", 8, 4),
        ("plan['a'] == ''", "E182", 4, 1),
        ("{'a': 1}", "E182", 0, 1),
        ("1.5 < size(plan)", "E182", 0, 3),
        ("1u < size(plan)", "E182", 0, 2),
        ("99999999999999999999 < size(plan)", "E181", 0, 20),
        ("plan - 1", "E181", 5, 1),
        ("-plan == 1", "E181", 1, 4),
        ("for == 'a'", "E181", 0, 3),
        ("has(plan)", "E182", 0, 3),
        ("plan.map(x, x)", "E182", 5, 3),
        ("startsWith(plan, 'a')", "E183", 0, 10),
        ("plan.startsWith()", "E183", 5, 10),
        ("plan.startsWith(1)", "E183", 16, 1),
        ("plan in model", "E183", 8, 5),
        ("plan in ['a', 1]", "E183", 14, 1),
        ("1 in ['a']", "E183", 0, 1),
        ("plan == ['a']", "E183", 8, 5),
        ("true < (plan == '')", "E183", 0, 4),
        ("(plan == '' ? 'a' : 1) == 'a'", "E183", 20, 1),
        ("plan.matches(model)", "E183", 13, 5),
        ("plan.matches('(')", "E181", 13, 3),
        ("plan.matches('(a)\\\\1')", "E181", 13, 8),
        ("plan.matches(r'\\<x')", "E182", 13, 6),
        ("plan.matches(r'\\b{start}x')", "E182", 13, 13),
        ("plan.matches(r'[A-\\d]')", "E181", 13, 9),
        ("plan.matches('\\\\pL{9}')", "E184", 13, 9),
        ("plan.exists(x, x == '')", "E183", 0, 4),
        ("['a'].exists('x', plan == '')", "E183", 13, 3),
        ("['a'].exists(plan, plan == '')", "E182", 13, 4),
        ("['a'].exists(x, ['b'].all(x, x == plan))", "E182", 26, 1),
        ("['a'].exists(x, x == plan) && x == ''", "E182", 30, 1),
        ("['a'].all(x, ['b'].all(y, ['c'].all(z, z == plan)))", "E184", 32, 3),
    ] {
        let (found, from, long, message) = first(text);
        assert_eq!((found, from, long), (code, start, length), "{text}: {message}");
    }
}

#[test]
fn what_nests_and_what_follows_each_other_is_counted_as_it_is_said() {
    let nested = |times: usize| format!("{}plan == 'a'{}", "(".repeat(times), ")".repeat(times));
    assert!(read(&nested(16)).is_ok());
    assert_eq!(first(&nested(17)).3, "a condition nests at most 16 deep");
    let compared = |times: usize| format!("plan == 'a'{}", " == true".repeat(times - 1));
    assert!(read(&compared(4)).is_ok());
    assert_eq!(first(&compared(5)), ("E184", 36, 2, "at most 4 comparisons follow each other".to_owned()));
    let called = format!("plan{}", ".size()".repeat(5));
    assert_eq!(first(&called), ("E184", 32, 1, "at most 4 calls follow each other".to_owned()));
    let patterns = |times: usize| vec!["plan.matches('a')"; times].join("||");
    assert!(read(&patterns(20)).is_ok());
    assert_eq!(first(&patterns(21)), ("E184", 393, 3, "a condition holds at most 20 patterns".to_owned()));
}

/// Far more than any of them takes, however slow and busy the machine.
const FAR_TOO_LONG: Duration = Duration::from_secs(10);

#[test]
fn texts_that_mean_harm_are_refused_or_judged_in_no_time() {
    let deep = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let loops =
        |names: &str| names.chars().fold("plan == ''".to_owned(), |body, name| format!("['a'].all({name}, {body})"));
    let tooth = "x".repeat(400);
    for (text, code) in [
        (deep("(", "true", ")", 400), "E184"),
        (deep("(", "true", ")", 500_000), "E184"),
        (deep("[", "", "]", 400), "E184"),
        (deep("!", "true", "", 900), "E184"),
        (deep("-", "1", "", 900), "E181"),
        (deep("size(", "plan", ")", 150), "E184"),
        (deep("true?true:", "true", "", 90), "E184"),
        (deep("1==", "1", "", 300), "E184"),
        (deep("plan", ".size()", "", 1) + &".size()".repeat(100), "E184"),
        (deep("true&&", "true", "", 160), "E185"),
        (loops("vwxyz"), "E184"),
        ("plan == 'a' ".repeat(90_000), "E184"),
        (format!("plan == '{}'", "a".repeat(1 << 20)), "E184"),
        ("plan.matches('a{1000}{1000}')".to_owned(), "E184"),
        ("plan.matches('((a{100}){100}){100}')".to_owned(), "E184"),
        ("plan.matches('[01]*1[01]{18}')".to_owned(), "E184"),
        (format!("plan.matches('{}')", deep("(", "a", ")", 450)), "E181"),
        ("\u{0}".to_owned(), "E181"),
        ("plan == '\u{202e}' || \u{feff}".to_owned(), "E181"),
        (format!("{tooth} == {tooth}"), "E182"),
    ] {
        let started = Instant::now();
        let (found, _, _, message) = first(&text);
        let shown: String = text.chars().take(40).collect();
        assert_eq!(found, code, "{shown}: {message}");
        assert!(started.elapsed() < FAR_TOO_LONG, "{shown}");
    }
}

#[test]
fn a_pattern_that_others_never_come_back_from_is_one_step_per_byte() {
    let condition = super::condition("promptVersion.matches('^(a+)+$') || promptVersion.matches('(.*a){6}$')");
    let long = format!("{}!", "a".repeat(1 << 20));
    let started = Instant::now();
    let call = plimsoll::domain::standing::Dimensions { prompt_version: &long, ..super::call() };
    assert!(!condition.holds(&call));
    assert!(started.elapsed() < FAR_TOO_LONG);
}
