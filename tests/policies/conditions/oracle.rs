//! Random conditions, judged by us and by an interpreter of CEL that others wrote.

use std::sync::Arc;

use cel::{Context, Env, Program, Value};
use plimsoll::domain::standing::Dimensions;
use plimsoll::policy::budget::Dimension;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::read;

/// Few, so that they are often the same, the beginning or the end of each other.
const VALUES: [&str; 10] = ["", "a", "ab", "b", "ba", "ä", "aä", "it's", "\\d", "a\nb"];
const PATTERNS: [&str; 9] = ["a", "^a", "b$", "^(a|ä)+$", "[^a]", "^.$", "(?i)B", "^$", "^.b?."];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

fn literal() -> impl Strategy<Value = String> {
    select(&VALUES[..]).prop_map(quoted)
}

fn list() -> impl Strategy<Value = String> {
    prop::collection::vec(literal(), 0..3).prop_map(|items| format!("[{}]", items.join(", ")))
}

/// A text; within `loops` loops their items too.
fn text(loops: usize) -> impl Strategy<Value = String> {
    let names = Dimension::ALL.map(|(name, _)| name.to_owned());
    let items = ["x", "y"].into_iter().take(loops).map(str::to_owned);
    prop_oneof![select(names.into_iter().chain(items).collect::<Vec<_>>()), literal()]
}

fn number(loops: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        (-2_i64..4).prop_map(|number| number.to_string()),
        text(loops).prop_map(|text| format!("size({text})")),
        text(loops).prop_map(|text| format!("{text}.size()")),
    ]
}

fn leaf(loops: usize) -> impl Strategy<Value = String> {
    let order = || select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let function = select(vec!["startsWith", "endsWith", "contains"]);
    prop_oneof![
        1 => any::<bool>().prop_map(|truth| truth.to_string()),
        4 => (text(loops), order(), text(loops)).prop_map(|(one, order, other)| format!("{one} {order} {other}")),
        2 => (number(loops), order(), number(loops)).prop_map(|(one, order, other)| format!("{one} {order} {other}")),
        2 => (text(loops), list()).prop_map(|(text, list)| format!("{text} in {list}")),
        3 => (text(loops), function, text(loops)).prop_map(|(one, function, other)| format!("{one}.{function}({other})")),
        2 => (text(loops), select(&PATTERNS[..])).prop_map(|(text, pattern)| format!("{text}.matches({})", quoted(pattern))),
        1 => (leaf_simple(loops), text(loops), text(loops), text(loops))
            .prop_map(|(asked, one, other, beside)| format!("({asked} ? {one} : {other}) == {beside}")),
    ]
}

fn leaf_simple(loops: usize) -> impl Strategy<Value = String> {
    (text(loops), text(loops)).prop_map(|(one, other)| format!("{one} == {other}"))
}

fn tested(loops: usize) -> BoxedStrategy<String> {
    let inner = leaf(loops).prop_recursive(3, 12, 3, |inner| {
        let inner = move || inner.clone();
        prop_oneof![
            inner().prop_map(|test| format!("!({test})")),
            prop::collection::vec(inner(), 2..4).prop_map(|tests| bracketed(&tests).join(" && ")),
            prop::collection::vec(inner(), 2..4).prop_map(|tests| bracketed(&tests).join(" || ")),
            (inner(), inner(), inner()).prop_map(|(asked, one, other)| format!("({asked}) ? ({one}) : {other}")),
            (inner(), select(vec!["==", "!="]), inner())
                .prop_map(|(one, sign, other)| format!("({one}) {sign} ({other})")),
        ]
    });
    if loops == 2 {
        return inner.boxed();
    }
    let item = ["x", "y"][loops];
    let each = (list(), select(vec!["exists", "all"]), tested(loops + 1));
    prop_oneof![3 => inner, 1 => each.prop_map(move |(list, how, body)| format!("{list}.{how}({item}, {body})"))]
        .boxed()
}

/// Some in brackets that are not needed, some without those that are: what then stands there is another condition.
fn bracketed(tests: &[String]) -> Vec<String> {
    tests.iter().map(|test| if test.len() % 3 == 0 { test.clone() } else { format!("({test})") }).collect()
}

fn dimensions() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(&VALUES[..]), Dimension::ALL.len())
}

fn call<'a>(values: &[&'a str]) -> Dimensions<'a> {
    Dimensions {
        tenant_id: values[0],
        plan: Some(values[1]),
        segment: Some(values[2]),
        endpoint_tag: values[3],
        prompt_version: values[4],
        data_mode: values[5],
        environment: values[6],
        user_id: Some(values[7]),
        workflow_id: Some(values[8]),
        provider: values[9],
        model: values[10],
    }
}

struct Oracle {
    env: Arc<Env>,
}

impl Oracle {
    fn new() -> Self {
        Self { env: Arc::new(Env::stdlib()) }
    }

    fn judge(&self, text: &str, values: &[&str]) -> Result<bool, TestCaseError> {
        let program = Program::compile(text).map_err(|fault| TestCaseError::fail(format!("{text}: {fault}")))?;
        let mut context = Context::with_env(Arc::clone(&self.env));
        for ((name, _), value) in Dimension::ALL.into_iter().zip(values) {
            context.add_variable_from_value(name, (*value).to_owned());
        }
        match program.execute(&context) {
            Ok(Value::Bool(truth)) => Ok(truth),
            other => Err(TestCaseError::fail(format!("{text}: {other:?}"))),
        }
    }
}

/// The other interpreter needs the stack of its own thread: its parser takes some hundred kilobytes per pair of brackets.
fn cases(cases: u32, law: impl FnOnce(&mut TestRunner) -> Result<(), String> + Send + 'static) {
    let runner = move || law(&mut TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() }));
    let thread = std::thread::Builder::new().stack_size(512 << 20).spawn(runner).expect("a thread");
    if let Err(failed) = thread.join().expect("no panic") {
        unreachable!("{failed}");
    }
}

/// So that no condition is refused for being the same of every call.
fn varied(test: &str) -> String {
    format!("({test}) == (userId < 'aa')")
}

#[test]
fn conditions_mean_what_they_mean_to_another_interpreter() {
    cases(300, |runner| {
        let oracle = Oracle::new();
        let law = |(test, values): (String, Vec<&str>)| {
            let text = varied(&test);
            // Too dear, which is not what this is about.
            let Ok(condition) = read(&text).map_err(|faults| assert_eq!(faults[0].code, "E184", "{text} {faults:?}"))
            else {
                return Err(TestCaseError::reject("too dear"));
            };
            let ours = condition.holds(&call(&values));
            prop_assert_eq!(ours, oracle.judge(&text, &values)?, "{}", text);
            let printed = condition.to_string();
            prop_assert_eq!(ours, oracle.judge(&printed, &values)?, "{} printed as {}", text, printed);
            Ok(())
        };
        runner.run(&(tested(0), dimensions()), law).map_err(|fault| fault.to_string())
    });
}

#[test]
fn what_is_printed_is_read_as_the_same_condition() {
    cases(500, |runner| {
        let law = |test: String| {
            let Ok(condition) = read(&varied(&test)) else { return Err(TestCaseError::reject("too dear")) };
            let printed = condition.to_string();
            let again = read(&printed).map_err(|faults| TestCaseError::fail(format!("{printed}: {faults:?}")))?;
            prop_assert_eq!(&again, &condition, "{}", printed);
            prop_assert_eq!(again.to_string(), printed);
            Ok(())
        };
        runner.run(&tested(0), law).map_err(|fault| fault.to_string())
    });
}

/// A text of many terms without a blank that is not needed, up to the longest that is read.
fn long() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        5 => leaf(0).prop_map(|term| if term.contains("' '") { term } else { term.replace(" in ", "\u{1}").replace(' ', "").replace('\u{1}', " in ") }),
        1 => Just("!(plan=='a'==true)".to_owned()),
        1 => Just("userId!='\u{2}\u{3}'".to_owned()),
    ];
    let terms = prop::collection::vec((term, select(vec!["&&", "||"])), 1..60);
    terms.prop_map(|terms| {
        let mut text = "userId<'aa'".to_owned();
        for (term, sign) in terms {
            if text.chars().count() + term.chars().count() + 2 <= 1_000 {
                text = format!("{text}{sign}{term}");
            }
        }
        text
    })
}

#[test]
fn what_is_accepted_reads_back_however_long_it_becomes() {
    cases(500, |runner| {
        let law = |text: String| {
            match read(&text) {
                Ok(condition) => {
                    let printed = condition.to_string();
                    let again =
                        read(&printed).map_err(|faults| TestCaseError::fail(format!("{printed}: {faults:?}")))?;
                    prop_assert_eq!(&again, &condition, "{}", printed);
                }
                Err(faults) => {
                    prop_assert!(
                        faults.iter().all(|fault| ["E184", "E185"].contains(&fault.code)),
                        "{} {:?}",
                        text,
                        faults
                    );
                }
            }
            Ok(())
        };
        runner.run(&long(), law).map_err(|fault| fault.to_string())
    });
}

/// What is taken for a condition after a slip is CEL too, with the same meaning: nothing is skipped and nothing guessed.
#[test]
fn what_a_slip_leaves_is_refused_or_means_the_same_to_both() {
    cases(400, |runner| {
        let oracle = Oracle::new();
        let law = |(test, values, at, put): (String, Vec<&str>, prop::sample::Index, &str)| {
            let whole = varied(&test);
            let at = at.index(whole.chars().count());
            let text: String = whole
                .chars()
                .enumerate()
                .flat_map(
                    |(place, character)| {
                        if place == at { put.chars().collect::<Vec<_>>() } else { vec![character] }
                    },
                )
                .collect();
            match read(&text) {
                Ok(condition) => {
                    prop_assert_eq!(condition.holds(&call(&values)), oracle.judge(&text, &values)?, "{}", text);
                }
                Err(faults) => {
                    let length = text.chars().count();
                    prop_assert!(!faults.is_empty());
                    for fault in faults {
                        prop_assert!(fault.stretch.start + fault.stretch.length <= length, "{} {:?}", text, fault);
                    }
                }
            }
            Ok(())
        };
        let put = select(vec![
            "", " ", "(", ")", "'", "\"", "!", "-", "x", "1", ".", ",", "&&", "==", "?", "\\", "r'", "//", "[", "=",
            "in ",
        ]);
        runner
            .run(&(tested(0), dimensions(), any::<prop::sample::Index>(), put), law)
            .map_err(|fault| fault.to_string())
    });
}

#[test]
fn what_is_judged_without_knowing_everything_is_never_wrong() {
    cases(500, |runner| {
        let law = |(test, values, known): (String, Vec<&str>, Vec<bool>)| {
            let Ok(condition) = read(&varied(&test)) else { return Err(TestCaseError::reject("too dear")) };
            let dimensions = call(&values);
            let places = Dimension::ALL.map(|(_, dimension)| dimension);
            let partly = |asked: Dimension| {
                let at = places.iter().position(|dimension| *dimension == asked)?;
                known[at].then_some(values[at])
            };
            let holds = condition.holds(&dimensions);
            prop_assert!(condition.may_hold(&partly) || !holds, "{}", condition);
            prop_assert!(!condition.must_hold(&partly) || holds, "{}", condition);
            let all = |asked: Dimension| Some(asked.of(&dimensions));
            prop_assert_eq!(condition.may_hold(&all), condition.must_hold(&all), "{} is undecided", condition);
            Ok(())
        };
        let known = prop::collection::vec(any::<bool>(), Dimension::ALL.len());
        runner.run(&(tested(0), dimensions(), known), law).map_err(|fault| fault.to_string())
    });
}
