//! `${NAME}` in values of `plimsoll.yaml`.

use crate::diagnostic::Diagnostic;
use crate::policy::reader::Problems;
use crate::policy::tree::{Kind, Node};

/// Looks a variable up.
pub(super) type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The tree with every variable replaced. Keys are not expanded, and what a variable holds is never expanded again.
pub(super) fn expanded(mut node: Node, environment: &Environment<'_>, problems: &mut Problems) -> Node {
    match &mut node.kind {
        Kind::Null => {}
        Kind::Scalar { text, .. } => match expand(text, environment) {
            Ok(value) => *text = value,
            Err(fault) => problems.push(fault.at(&node.place, "")),
        },
        Kind::List(items) => {
            let old = std::mem::take(items);
            *items = old.into_iter().map(|item| expanded(item, environment, problems)).collect();
        }
        Kind::Map(entries) => {
            let old = std::mem::take(entries);
            *entries = old.into_iter().map(|(key, value)| (key, expanded(value, environment, problems))).collect();
        }
    }
    node
}

fn expand(text: &str, environment: &Environment<'_>) -> Result<String, Diagnostic> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, tail) = after
            .split_once('}')
            .ok_or_else(|| Diagnostic::error("E024", "`${` is not closed").help("write `${NAME}`"))?;
        let value = environment(name).ok_or_else(|| {
            Diagnostic::error("E025", format!("the environment variable `{name}` is not set"))
                .help(format!("export {name}=…"))
        })?;
        out.push_str(&value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Takes out what is said of a value that could not be expanded, beside that it could not.
pub(super) fn silence_consequences(problems: &mut Problems) {
    let is_cause = |fault: &Diagnostic| matches!(fault.code, "E024" | "E025");
    let places: Vec<_> = problems.iter().filter(|fault| is_cause(fault)).map(|fault| fault.place.clone()).collect();
    problems.retain(|fault| is_cause(fault) || fault.place.is_none() || !places.contains(&fault.place));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_replaced_once_and_a_missing_one_is_named() {
        let environment = |name: &str| (name == "A").then(|| "x${B}".to_owned());
        assert_eq!(expand("1${A}2", &environment), Ok("1x${B}2".to_owned()));
        assert_eq!(expand("no variables", &environment), Ok("no variables".to_owned()));
        let fault = expand("${MISSING}", &environment).expect_err("not set");
        assert!(fault.message.contains("`MISSING`"), "{}", fault.message);
        assert!(expand("${A", &environment).is_err());
    }
}
