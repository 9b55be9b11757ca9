//! The tree of a text → a condition, or every mistake in it: names, types, what a dimension can be, and what it costs.

use std::sync::Arc;

use crate::policy::budget::Dimension;
use crate::policy::reader::nearest;

use super::Known;
use super::cost::{MOST_STEPS, PATTERN, steps};
use super::fault::{Fault, SIZE, Stretch, TYPE, UNKNOWN};
use super::pattern::Unusable;
use super::patterns::{MOST_BYTES, Patterns};
use super::syntax::{Kind, Syntax};
use super::test::{LOOPS, Number, Order, Part, Test, Text};
use super::values::{Item, impossible};

/// What functions there are, each as it is called.
const FUNCTIONS: [(&str, &str); 7] = [
    ("startsWith", "plan.startsWith('…')"),
    ("endsWith", "plan.endsWith('…')"),
    ("contains", "plan.contains('…')"),
    ("matches", "plan.matches('…')"),
    ("size", "size(plan)"),
    ("exists", "['a', 'b'].exists(x, …)"),
    ("all", "['a', 'b'].all(x, …)"),
];

/// A part whose type is known.
enum Value {
    Test(Test),
    Text(Text),
    Number(Number),
    List,
}

impl Value {
    fn what(&self) -> &'static str {
        match self {
            Self::Test(_) => "true or false",
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::List => "a list",
        }
    }
}

/// ``a condition knows: tenantId, plan, …``
pub(super) fn names() -> String {
    let names: Vec<&str> = Dimension::ALL.iter().map(|(name, _)| *name).collect();
    format!("a condition knows: {}", names.join(", "))
}

/// The dimension that was probably meant.
pub(super) fn near_name(name: &str) -> Option<&'static str> {
    nearest(name, Dimension::ALL.into_iter().map(|(known, _)| known))
}

pub(super) struct Checker<'k> {
    text: Vec<char>,
    known: Known<'k>,
    patterns: &'k Patterns,
    /// How many patterns there were so far.
    patterned: u64,
    faults: Vec<Fault>,
    /// The items of the loops around, outermost first.
    items: Vec<Item>,
}

impl<'k> Checker<'k> {
    pub(super) fn new(text: &str, known: Known<'k>, patterns: &'k Patterns) -> Self {
        let text = text.chars().collect();
        Self { text, known, patterns, patterned: 0, faults: Vec::new(), items: Vec::new() }
    }

    /// The condition that a tree means.
    pub(super) fn condition(mut self, syntax: &Syntax) -> Result<Test, Vec<Fault>> {
        let test = self.test(syntax, "`when` must be true or false", "==");
        match test {
            Some(test) if self.faults.is_empty() => Ok(test),
            _ => Err(self.faults),
        }
    }

    fn fault<T>(&mut self, fault: Fault) -> Option<T> {
        self.faults.push(fault);
        None
    }

    fn written(&self, stretch: Stretch) -> String {
        let rest = self.text.get(stretch.start..).unwrap_or_default();
        rest.iter().take(stretch.length).collect()
    }

    /// What must be true or false. Where it is a dimension, a comparison by `sign` was probably meant.
    fn test(&mut self, syntax: &Syntax, must: &str, sign: &str) -> Option<Test> {
        match self.value(syntax)? {
            Value::Test(test) => Some(test),
            other => {
                let mut fault = Fault::new(TYPE, syntax.stretch, must).label(format!("this is {}", other.what()));
                if let Value::Text(Text::Of(_)) = other {
                    fault = fault.help(format!("write `{} {sign} '…'`", self.written(syntax.stretch)));
                }
                self.fault(fault)
            }
        }
    }

    fn text(&mut self, syntax: &Syntax, must: &str) -> Option<Text> {
        match self.value(syntax)? {
            Value::Text(text) => Some(text),
            other => self.fault(Fault::new(TYPE, syntax.stretch, must).label(format!("this is {}", other.what()))),
        }
    }

    fn value(&mut self, syntax: &Syntax) -> Option<Value> {
        match &syntax.kind {
            Kind::Text(text) => Some(Value::Text(Text::Literal(Arc::from(text.as_str())))),
            Kind::Number(number) => Some(Value::Number(Number::Literal(*number))),
            Kind::Truth(truth) => Some(Value::Test(Test::Literal(*truth))),
            Kind::Name(name) => self.name(name, syntax.stretch).map(Value::Text),
            Kind::List(_) => Some(Value::List),
            Kind::Not(inner) => {
                let test = self.test(inner, "`!` turns true and false round, and nothing else", "!=")?;
                Some(Value::Test(Test::Not(Box::new(test))))
            }
            Kind::Chain { and, terms } => self.chain(*and, terms).map(Value::Test),
            Kind::Compare { order, sides } => self.compare(*order, sides).map(Value::Test),
            Kind::In(sides) => self.one_of(sides).map(Value::Test),
            Kind::Choice(parts) => self.choice(parts),
            Kind::Call { name, named, on, arguments } => self.call((name, *named), on.as_deref(), arguments),
        }
    }

    fn name(&mut self, name: &str, stretch: Stretch) -> Option<Text> {
        if let Some(depth) = self.items.iter().position(|item| *item.name == *name) {
            return Some(Text::Item { depth, name: Arc::clone(&self.items[depth].name) });
        }
        if let Some((_, dimension)) = Dimension::ALL.into_iter().find(|(known, _)| *known == name) {
            return Some(Text::Of(dimension));
        }
        let fault = Fault::new(UNKNOWN, stretch, format!("unknown name `{name}`")).note(names());
        let near = near_name(name).or_else(|| nearest(name, self.items.iter().map(|item| &*item.name)));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write `'{name}'` if it is a text"),
        };
        self.fault(fault.help(help))
    }

    fn list(&mut self, items: &[Syntax]) -> Option<Vec<Arc<str>>> {
        let mut texts = Vec::new();
        for item in items {
            if let Kind::Text(text) = &item.kind {
                texts.push(Arc::from(text.as_str()));
                continue;
            }
            let fault = Fault::new(TYPE, item.stretch, "a list holds texts in quotes");
            self.faults.push(fault.help(format!("write `'{}'`", self.written(item.stretch))));
        }
        (texts.len() == items.len()).then_some(texts)
    }

    /// Chains within chains of the same kind are one.
    fn chain(&mut self, and: bool, terms: &[Syntax]) -> Option<Test> {
        let must = if and { "`&&` joins what is true or false" } else { "`||` joins what is true or false" };
        let read: Vec<Test> = terms.iter().filter_map(|term| self.test(term, must, "==")).collect();
        if read.len() < terms.len() {
            return None;
        }
        let flat = read.into_iter().flat_map(|test| match test {
            Test::All(inner) if and => inner,
            Test::Any(inner) if !and => inner,
            other => vec![other],
        });
        Some(if and { Test::All(flat.collect()) } else { Test::Any(flat.collect()) })
    }

    fn compare(&mut self, order: Order, sides: &[Syntax; 2]) -> Option<Test> {
        let [left, right] = sides;
        let (one, other) = (self.value(left), self.value(right));
        match (one?, other?) {
            (Value::Text(one), Value::Text(other)) => {
                if matches!(order, Order::Same | Order::Other) {
                    self.possible(&one, right);
                    self.possible(&other, left);
                }
                Some(Test::Texts { order, sides: [one, other] })
            }
            (Value::Number(one), Value::Number(other)) => Some(Test::Numbers { order, sides: [one, other] }),
            (Value::Test(one), Value::Test(other)) if matches!(order, Order::Same | Order::Other) => {
                Some(Test::Truths { same: order == Order::Same, sides: Box::new([one, other]) })
            }
            (one, other) => {
                let fault = self.unlike((&one, left), (&other, right));
                self.fault(fault)
            }
        }
    }

    /// Two values that cannot be compared. What is written out is more likely the wrong one.
    fn unlike(&self, left: (&Value, &Syntax), right: (&Value, &Syntax)) -> Fault {
        let is_literal = |syntax: &Syntax| matches!(syntax.kind, Kind::Text(_) | Kind::Number(_) | Kind::Truth(_));
        let ((value, syntax), (against, beside)) =
            if is_literal(left.1) && !is_literal(right.1) { (left, right) } else { (right, left) };
        if value.what() == against.what() {
            return Fault::new(TYPE, syntax.stretch, format!("{} has no order", value.what()));
        }
        let message = format!("{} is not compared with {}", against.what(), value.what());
        let label = format!("{}; `{}` is {}", value.what(), self.written(beside.stretch), against.what());
        let fault = Fault::new(TYPE, syntax.stretch, message).label(label);
        match (&syntax.kind, against) {
            (Kind::Number(number), Value::Text(_)) => fault.help(format!("write `'{number}'`")),
            (Kind::Text(text), Value::Number(_)) if text.parse::<i64>().is_ok() => {
                fault.help(format!("write `{text}`"))
            }
            (Kind::List(_), _) => fault.help("write `in` to ask whether it is one of them"),
            _ => fault,
        }
    }

    fn one_of(&mut self, sides: &[Syntax; 2]) -> Option<Test> {
        let [left, right] = sides;
        let text = self.text(left, "`in` looks for a text");
        let Kind::List(items) = &right.kind else {
            let fault = Fault::new(TYPE, right.stretch, "`in` looks in a list that is written out");
            return self.fault(fault.help(format!("write `{} in ['…', '…']`", self.written(left.stretch))));
        };
        let list = self.list(items);
        let (text, list) = (text?, list?);
        for item in items {
            self.possible(&text, item);
        }
        Some(Test::OneOf { text, list: list.into() })
    }

    /// What is written out must be a value that the text can have. An item that is compared twice is told of once.
    fn possible(&mut self, text: &Text, beside: &Syntax) {
        for fault in impossible(text, beside, &self.items, self.known) {
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
    }

    fn choice(&mut self, parts: &[Syntax; 3]) -> Option<Value> {
        let [asked, one, other] = parts;
        let asked = self.test(asked, "`?` asks for true or false", "==");
        let (first, second) = (self.value(one), self.value(other));
        let asked = asked?;
        match (first?, second?) {
            (Value::Test(one), Value::Test(other)) => Some(Value::Test(Test::Choice(Box::new([asked, one, other])))),
            (Value::Text(one), Value::Text(other)) => Some(Value::Text(Text::Choice(Box::new((asked, one, other))))),
            (Value::Number(one), Value::Number(other)) => {
                Some(Value::Number(Number::Choice(Box::new((asked, one, other)))))
            }
            (one, second) => {
                let message = "`?` chooses between two tests, two texts or two numbers";
                let label = format!("this is {}, the other one {}", second.what(), one.what());
                self.fault(Fault::new(TYPE, other.stretch, message).label(label))
            }
        }
    }

    fn call(&mut self, (name, named): (&str, Stretch), on: Option<&Syntax>, arguments: &[Syntax]) -> Option<Value> {
        let part = match name {
            "startsWith" => Some(Part::Start),
            "endsWith" => Some(Part::End),
            "contains" => Some(Part::Anywhere),
            _ => None,
        };
        match (name, on, arguments) {
            ("size", None, [of]) | ("size", Some(of), []) => {
                let text = self.text(of, "`size` counts the characters of a text")?;
                Some(Value::Number(Number::Size(Box::new(text))))
            }
            ("matches", Some(whole), [pattern]) => self.matches(whole, pattern).map(Value::Test),
            ("exists" | "all", Some(list), [item, body]) => {
                self.each((name == "all", named), list, item, body).map(Value::Test)
            }
            (_, Some(whole), [what]) if part.is_some() => {
                let whole = self.text(whole, &format!("`{name}` looks in a text"));
                let what = self.text(what, &format!("`{name}` looks for a text"));
                Some(Value::Test(Test::Holds { part: part?, whole: whole?, what: what? }))
            }
            _ => self.no_function(name, named),
        }
    }

    fn no_function(&mut self, name: &str, named: Stretch) -> Option<Value> {
        if let Some((_, form)) = FUNCTIONS.into_iter().find(|(known, _)| *known == name) {
            let fault = Fault::new(TYPE, named, format!("`{name}` is called in another form"));
            return self.fault(fault.help(format!("write `{form}`")));
        }
        if name == "has" {
            let fault = Fault::new(UNKNOWN, named, "`has` has no use here: what is absent is an empty text");
            return self.fault(fault.help("write `userId != ''`"));
        }
        let functions = FUNCTIONS.map(|(known, _)| known);
        let fault = Fault::new(UNKNOWN, named, format!("unknown function `{name}`"));
        let fault = fault.note(format!("functions: {}", functions.join(", ")));
        match nearest(name, functions.into_iter()) {
            Some(near) => self.fault(fault.help(format!("did you mean `{near}`?"))),
            None => self.fault(fault),
        }
    }

    fn matches(&mut self, whole: &Syntax, pattern: &Syntax) -> Option<Test> {
        let text = self.text(whole, "`matches` looks in a text");
        let Kind::Text(written) = &pattern.kind else {
            let fault = Fault::new(TYPE, pattern.stretch, "a pattern is a text that is written out");
            return self.fault(fault.label("it is made ready when the policy is loaded"));
        };
        // Not one more is made than a condition could pay for.
        self.patterned += 1;
        if self.patterned * PATTERN > MOST_STEPS {
            let fault = Fault::new(
                SIZE,
                pattern.stretch,
                format!("a condition holds at most {} patterns", MOST_STEPS / PATTERN),
            );
            return self.fault(fault.help("join patterns with `|`, or use the fields of `match`"));
        }
        let fault = match self.patterns.pattern(written) {
            Ok(pattern) => return Some(Test::Fits { text: text?, pattern }),
            Err(Unusable::Invalid(reason)) => {
                Fault::new(super::fault::SYNTAX, pattern.stretch, "not a regular expression").label(reason)
            }
            Err(Unusable::WordBoundary) => {
                let fault =
                    Fault::new(UNKNOWN, pattern.stretch, "`\\<`, `\\>` and `\\b{…}` are not part of patterns here");
                fault.help("write `\\b` for the edge of a word")
            }
            Err(Unusable::TooLarge) => {
                let fault = Fault::new(SIZE, pattern.stretch, "this pattern would become too large");
                fault.help("use smaller counts, and no classes of all languages, such as `\\p{L}`")
            }
            Err(Unusable::NoRoom) => {
                let message = format!("the patterns of a policy take at most {} MiB together", MOST_BYTES >> 20);
                let fault = Fault::new(SIZE, pattern.stretch, message).label("no room is left for this one");
                fault.help("use simpler patterns, or the fields of `match`")
            }
        };
        self.fault(fault)
    }

    fn each(&mut self, (every, named): (bool, Stretch), list: &Syntax, item: &Syntax, body: &Syntax) -> Option<Test> {
        let Kind::List(items) = &list.kind else {
            let fault = Fault::new(TYPE, list.stretch, "a loop goes over a list that is written out");
            return self.fault(fault.help("write `['a', 'b'].exists(x, …)`"));
        };
        let texts = self.list(items);
        let Kind::Name(name) = &item.kind else {
            return self.fault(Fault::new(TYPE, item.stretch, "a loop needs a name for its item").help("write `x`"));
        };
        let depth = self.items.len();
        if depth == LOOPS {
            return self.fault(Fault::new(SIZE, named, format!("at most {LOOPS} loops stand within each other")));
        }
        if Dimension::ALL.iter().any(|(known, _)| known == name) || self.items.iter().any(|known| *known.name == **name)
        {
            let fault = Fault::new(UNKNOWN, item.stretch, format!("`{name}` already means something else"));
            return self.fault(fault.help("write `x`"));
        }
        let item = Item::of(name, items);
        let name = Arc::clone(&item.name);
        self.items.push(item);
        let body = self.test(body, "a loop asks for true or false", "==");
        self.items.pop();
        let test = Test::Each { every, depth, item: name, list: texts?.into(), body: Box::new(body?) };
        let steps = steps(&test);
        if steps > MOST_STEPS {
            return self.fault(super::cost::too_dear(steps, named));
        }
        Some(test)
    }
}
