//! Tables as the page of a reference.

use std::fmt::Write as _;

use super::{Key, Map, Shape, grammars, maps};

/// The page of a file whose outermost map is `root`, under a title.
pub fn reference(title: &str, root: &'static Map) -> String {
    let mut page = format!(
        "# {title}\n\n{}\n\nAn unknown key is an error, never ignored. **Bold** keys are required.\n",
        root.says
    );
    for map in maps(root) {
        if !std::ptr::eq(map, root) {
            let _ = write!(page, "\n## {}\n\n{}\n", map.name, map.says);
        }
        page.push_str("\n| Key | Value | Meaning |\n|---|---|---|\n");
        for key in map.keys() {
            let _ = writeln!(page, "{}", row(key));
        }
        if let Some((example, shape)) = map.others {
            let _ = writeln!(page, "| any other, such as `{example}` | {} | |", words(shape));
        }
    }
    page.push_str("\n## Values\n\n| What | Written | Meaning |\n|---|---|---|\n");
    for grammar in grammars(root) {
        let examples: Vec<String> = grammar.examples.iter().map(|example| format!("`{example}`")).collect();
        let _ = writeln!(page, "| {} | {} | {} |", grammar.name, examples.join(", "), grammar.says);
    }
    page
}

fn row(key: &Key) -> String {
    let sign = if key.required { "**" } else { "" };
    format!("| {sign}`{}`{sign} | {} | {} |", key.name, words(key.shape), key.says)
}

fn words(shape: Shape) -> String {
    match shape {
        Shape::Text(grammar) => grammar.name.to_owned(),
        Shape::Integer => "whole number".to_owned(),
        Shape::Number => "number".to_owned(),
        Shape::Boolean => "`true`, `false`".to_owned(),
        Shape::Word(all) => all.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::OneOf(all) => all.iter().map(|number| format!("`{number}`")).collect::<Vec<_>>().join(", "),
        Shape::List(item) => format!("list of: {}", words(*item)),
        Shape::Map(map) => link(map),
        Shape::Named(_, item) => format!("name → {}", words(*item)),
        Shape::Either(shapes) => shapes.iter().copied().map(words).collect::<Vec<_>>().join("; or "),
    }
}

fn link(map: &Map) -> String {
    format!("[{}](#{})", map.name, map.name.replace(' ', "-"))
}
