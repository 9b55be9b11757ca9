//! A condition as text: one text for one meaning as far as blanks, brackets and quotes go. What is printed is read back as the
//! same condition, see `tests/policies/conditions.rs`.

use std::fmt::{Formatter, Result, Write as _};

use super::test::{Number, Order, Part, Test, Text};

/// How tightly an operator binds; what binds more loosely than its surroundings ask for stands in brackets.
const CHOICE: u8 = 0;
const ANY: u8 = 1;
const ALL: u8 = 2;
const COMPARED: u8 = 3;
const NOT: u8 = 4;
const WHOLE: u8 = 5;

/// Writes a condition.
pub(super) fn print(condition: &Test, f: &mut Formatter<'_>) -> Result {
    test(condition, CHOICE, f)
}

fn in_brackets(own: u8, wanted: u8, f: &mut Formatter<'_>, write: impl FnOnce(&mut Formatter<'_>) -> Result) -> Result {
    if own >= wanted {
        return write(f);
    }
    f.write_char('(')?;
    write(f)?;
    f.write_char(')')
}

fn test(printed: &Test, wanted: u8, f: &mut Formatter<'_>) -> Result {
    match printed {
        Test::Literal(truth) => write!(f, "{truth}"),
        Test::Not(inner) => in_brackets(NOT, wanted, f, |f| {
            f.write_char('!')?;
            test(inner, if matches!(**inner, Test::Not(_)) { NOT } else { WHOLE }, f)
        }),
        Test::All(tests) => chain(tests, " && ", ALL, wanted, f),
        Test::Any(tests) => chain(tests, " || ", ANY, wanted, f),
        Test::Choice(parts) => {
            let [asked, one, other] = &**parts;
            choice(asked, |f| test(one, ANY, f), |f| test(other, CHOICE, f), wanted, f)
        }
        Test::Truths { same, sides } => {
            let [one, other] = &**sides;
            let sign = if *same { "==" } else { "!=" };
            compared(sign, |f| test(one, NOT, f), |f| test(other, NOT, f), wanted, f)
        }
        Test::Texts { order, sides: [one, other] } => {
            compared(sign(*order), |f| text(one, NOT, f), |f| text(other, NOT, f), wanted, f)
        }
        Test::Numbers { order, sides: [one, other] } => {
            compared(sign(*order), |f| number(one, NOT, f), |f| number(other, NOT, f), wanted, f)
        }
        Test::OneOf { text: item, list } => compared("in", |f| text(item, NOT, f), |f| self::list(list, f), wanted, f),
        Test::Holds { part, whole, what } => {
            text(whole, WHOLE, f)?;
            write!(f, ".{}(", name(*part))?;
            text(what, CHOICE, f)?;
            f.write_char(')')
        }
        Test::Fits { text: whole, pattern } => {
            text(whole, WHOLE, f)?;
            f.write_str(".matches(")?;
            quoted(pattern.as_str(), f)?;
            f.write_char(')')
        }
        Test::Each { every, item, list: items, body, .. } => {
            list(items, f)?;
            write!(f, ".{}({item}, ", if *every { "all" } else { "exists" })?;
            test(body, CHOICE, f)?;
            f.write_char(')')
        }
    }
}

fn chain(tests: &[Test], sign: &str, own: u8, wanted: u8, f: &mut Formatter<'_>) -> Result {
    in_brackets(own, wanted, f, |f| {
        for (at, one) in tests.iter().enumerate() {
            f.write_str(if at > 0 { sign } else { "" })?;
            test(one, own + 1, f)?;
        }
        Ok(())
    })
}

fn choice(
    asked: &Test,
    one: impl FnOnce(&mut Formatter<'_>) -> Result,
    other: impl FnOnce(&mut Formatter<'_>) -> Result,
    wanted: u8,
    f: &mut Formatter<'_>,
) -> Result {
    in_brackets(CHOICE, wanted, f, |f| {
        test(asked, ANY, f)?;
        f.write_str(" ? ")?;
        one(f)?;
        f.write_str(" : ")?;
        other(f)
    })
}

fn compared(
    sign: &str,
    one: impl FnOnce(&mut Formatter<'_>) -> Result,
    other: impl FnOnce(&mut Formatter<'_>) -> Result,
    wanted: u8,
    f: &mut Formatter<'_>,
) -> Result {
    in_brackets(COMPARED, wanted, f, |f| {
        one(f)?;
        write!(f, " {sign} ")?;
        other(f)
    })
}

fn text(printed: &Text, wanted: u8, f: &mut Formatter<'_>) -> Result {
    match printed {
        Text::Literal(literal) => quoted(literal, f),
        Text::Of(dimension) => f.write_str(dimension.as_str()),
        Text::Item { name, .. } => f.write_str(name),
        Text::Choice(parts) => {
            let (asked, one, other) = &**parts;
            choice(asked, |f| text(one, ANY, f), |f| text(other, CHOICE, f), wanted, f)
        }
    }
}

fn number(printed: &Number, wanted: u8, f: &mut Formatter<'_>) -> Result {
    match printed {
        Number::Literal(literal) => write!(f, "{literal}"),
        Number::Size(of) => {
            f.write_str("size(")?;
            text(of, CHOICE, f)?;
            f.write_char(')')
        }
        Number::Choice(parts) => {
            let (asked, one, other) = &**parts;
            choice(asked, |f| number(one, ANY, f), |f| number(other, CHOICE, f), wanted, f)
        }
    }
}

fn list(items: &[std::sync::Arc<str>], f: &mut Formatter<'_>) -> Result {
    f.write_char('[')?;
    for (at, item) in items.iter().enumerate() {
        f.write_str(if at > 0 { ", " } else { "" })?;
        quoted(item, f)?;
    }
    f.write_char(']')
}

/// In single quotes, which need no escapes within the double quotes of YAML and JSON.
fn quoted(literal: &str, f: &mut Formatter<'_>) -> Result {
    let plain = |character: char| !character.is_control() && character != '\'';
    if literal.contains('\\') && literal.chars().all(plain) {
        return write!(f, "r'{literal}'");
    }
    f.write_char('\'')?;
    for character in literal.chars() {
        match character {
            '\\' | '\'' => write!(f, "\\{character}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('\'')
}

fn sign(order: Order) -> &'static str {
    match order {
        Order::Same => "==",
        Order::Other => "!=",
        Order::Less => "<",
        Order::AtMost => "<=",
        Order::More => ">",
        Order::AtLeast => ">=",
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Start => "startsWith",
        Part::End => "endsWith",
        Part::Anywhere => "contains",
    }
}
