//! Tokens → a tree that mirrors the text: what is written, whatever it means.
//!
//! Nesting is counted on the way down and chains on the way along, so that no text can make a tree deeper than the stack
//! takes: CEL's published parsers end the whole process on a few dozen brackets.

use super::fault::{Fault, SIZE, SYNTAX, Stretch, UNKNOWN};
use super::lex::{Placed, Token, tokens};
use super::test::Order;

/// How deep brackets, choices and `!` may nest.
pub(super) const DEEPEST: usize = 16;
/// How many comparisons, or calls, may follow each other: each makes the tree one deeper.
const LONGEST_CHAIN: usize = 4;

/// A part of a condition.
#[derive(Debug)]
pub(super) struct Syntax {
    pub(super) stretch: Stretch,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Text(String),
    Number(i64),
    Truth(bool),
    List(Vec<Syntax>),
    Name(String),
    Not(Box<Syntax>),
    /// With `and` all of them, else any.
    Chain {
        and: bool,
        terms: Vec<Syntax>,
    },
    Compare {
        order: Order,
        sides: Box<[Syntax; 2]>,
    },
    In(Box<[Syntax; 2]>),
    Choice(Box<[Syntax; 3]>),
    Call {
        name: String,
        named: Stretch,
        on: Option<Box<Syntax>>,
        arguments: Vec<Syntax>,
    },
}

const ORDERS: [(&str, Order); 6] = [
    ("==", Order::Same),
    ("!=", Order::Other),
    ("<", Order::Less),
    ("<=", Order::AtMost),
    (">", Order::More),
    (">=", Order::AtLeast),
];

/// Words that CEL keeps for itself.
pub(super) const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Reads a text.
pub(super) fn read(text: &str) -> Result<Syntax, Fault> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let syntax = parser.expression()?;
    if parser.peek().is_some() { Err(parser.unexpected("an operator")) } else { Ok(syntax) }
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn stretch(&self) -> Stretch {
        let last = self.tokens.get(self.at).or(self.tokens.last());
        last.map_or(Stretch { start: 0, length: 1 }, |(_, stretch)| *stretch)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(found)) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    /// Takes a sign that must come, and says where it stood.
    fn expect(&mut self, sign: &'static str) -> Result<Stretch, Fault> {
        let stretch = self.stretch();
        if self.take(sign) { Ok(stretch) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = match self.peek() {
            None => {
                let fault = Fault::new(SYNTAX, self.stretch(), "the condition ends too early");
                return fault.label(format!("{wanted} must follow"));
            }
            Some(Token::Name(name)) => name.clone(),
            Some(Token::Sign(sign)) => (*sign).to_owned(),
            Some(Token::Number(number)) => number.to_string(),
            Some(Token::Text(_)) => "a text".to_owned(),
        };
        let shown = if found == "a text" { found.clone() } else { format!("`{found}`") };
        let fault = Fault::new(SYNTAX, self.stretch(), format!("{shown} cannot stand here"));
        match found.to_lowercase().as_str() {
            "and" => fault.help("write `&&`"),
            "or" => fault.help("write `||`"),
            "not" => fault.help("write `!`"),
            "-" => fault.label("a condition compares and does not calculate"),
            _ => fault.label(format!("{wanted} is expected")),
        }
    }

    fn too_deep(&self) -> Fault {
        let fault = Fault::new(SIZE, self.stretch(), format!("a condition nests at most {DEEPEST} deep"));
        fault.help("say it in fewer brackets, or as several budgets")
    }

    fn too_many(&self, what: &str, help: &str) -> Fault {
        let message = format!("at most {LONGEST_CHAIN} {what} follow each other");
        Fault::new(SIZE, self.stretch(), message).help(help)
    }

    /// Goes one level down for as long as `read` lasts. The whole condition is a level, and what nests comes below it.
    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Result<Syntax, Fault>) -> Result<Syntax, Fault> {
        if self.depth > DEEPEST {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let syntax = read(self);
        self.depth -= 1;
        syntax
    }

    fn expression(&mut self) -> Result<Syntax, Fault> {
        self.deeper(|parser| {
            let asked = parser.chain(false)?;
            if !parser.take("?") {
                return Ok(asked);
            }
            let one = parser.chain(false)?;
            parser.expect(":")?;
            let other = parser.expression()?;
            let stretch = asked.stretch.to(other.stretch);
            Ok(Syntax { stretch, kind: Kind::Choice(Box::new([asked, one, other])) })
        })
    }

    /// `… || …` of `… && …`.
    fn chain(&mut self, and: bool) -> Result<Syntax, Fault> {
        let term = |parser: &mut Self| if and { parser.relation() } else { parser.chain(true) };
        let sign = if and { "&&" } else { "||" };
        let first = term(self)?;
        if !self.is(sign) {
            return Ok(first);
        }
        let mut stretch = first.stretch;
        let mut terms = vec![first];
        while self.take(sign) {
            let next = term(self)?;
            stretch = stretch.to(next.stretch);
            terms.push(next);
        }
        Ok(Syntax { stretch, kind: Kind::Chain { and, terms } })
    }

    fn relation(&mut self) -> Result<Syntax, Fault> {
        let mut left = self.unary()?;
        for so_far in 0..=LONGEST_CHAIN {
            let order = match self.peek() {
                Some(Token::Sign(sign)) => match ORDERS.into_iter().find(|(known, _)| known == sign) {
                    Some((_, order)) => Some(order),
                    None => return Ok(left),
                },
                Some(Token::Name(name)) if name == "in" => None,
                _ => return Ok(left),
            };
            if so_far == LONGEST_CHAIN {
                break;
            }
            self.at += 1;
            let right = self.unary()?;
            let stretch = left.stretch.to(right.stretch);
            let sides = Box::new([left, right]);
            let kind = match order {
                Some(order) => Kind::Compare { order, sides },
                None => Kind::In(sides),
            };
            left = Syntax { stretch, kind };
        }
        Err(self.too_many("comparisons", "join comparisons with `&&`"))
    }

    fn unary(&mut self) -> Result<Syntax, Fault> {
        let start = self.stretch();
        if self.take("!") {
            return self.deeper(|parser| {
                let operand = if parser.is("!") { parser.unary()? } else { parser.member()? };
                Ok(Syntax { stretch: start.to(operand.stretch), kind: Kind::Not(Box::new(operand)) })
            });
        }
        if !self.take("-") {
            return self.member();
        }
        let stretch = start.to(self.stretch());
        let Some(Token::Number(number)) = self.peek() else { return Err(self.unexpected("a number")) };
        let kind = Kind::Number(-number);
        self.at += 1;
        Ok(Syntax { stretch, kind })
    }

    fn member(&mut self) -> Result<Syntax, Fault> {
        let mut syntax = self.primary()?;
        for so_far in 0..=LONGEST_CHAIN {
            if self.is("[") {
                let fault = Fault::new(UNKNOWN, self.stretch(), "nothing in a condition is taken by its number");
                return Err(fault.label("not part of conditions"));
            }
            if !self.is(".") {
                return Ok(syntax);
            }
            if so_far == LONGEST_CHAIN {
                break;
            }
            self.at += 1;
            let named = self.stretch();
            let Some(Token::Name(name)) = self.peek() else { return Err(self.unexpected("a function")) };
            let name = name.clone();
            self.at += 1;
            if !self.is("(") {
                return Err(field(&syntax.kind, &name, syntax.stretch.to(named)));
            }
            let (arguments, end) = self.arguments("(", ")")?;
            let stretch = syntax.stretch.to(end);
            syntax = Syntax { stretch, kind: Kind::Call { name, named, on: Some(Box::new(syntax)), arguments } };
        }
        Err(self.too_many("calls", "a test is not asked anything further: join tests with `&&`"))
    }

    fn primary(&mut self) -> Result<Syntax, Fault> {
        let stretch = self.stretch();
        let kind = match self.peek() {
            Some(Token::Text(text)) => Kind::Text(text.clone()),
            Some(Token::Number(number)) => Kind::Number(*number),
            Some(Token::Name(name)) => match name.as_str() {
                "true" => Kind::Truth(true),
                "false" => Kind::Truth(false),
                "null" => {
                    let fault = Fault::new(UNKNOWN, stretch, "nothing is `null` here: what is absent is an empty text");
                    return Err(fault.help("write `''`"));
                }
                word if RESERVED.contains(&word) => return Err(self.unexpected("a name, a text or a number")),
                _ => return self.named(name.clone()),
            },
            Some(Token::Sign("(")) => {
                self.at += 1;
                let inner = self.expression()?;
                let end = self.expect(")")?;
                return Ok(Syntax { stretch: stretch.to(end), kind: inner.kind });
            }
            Some(Token::Sign("[")) => {
                let (items, end) = self.arguments("[", "]")?;
                return Ok(Syntax { stretch: stretch.to(end), kind: Kind::List(items) });
            }
            _ => return Err(self.unexpected("a name, a text or a number")),
        };
        self.at += 1;
        Ok(Syntax { stretch, kind })
    }

    /// A name, or a call of that function.
    fn named(&mut self, name: String) -> Result<Syntax, Fault> {
        let named = self.stretch();
        self.at += 1;
        if !self.is("(") {
            return Ok(Syntax { stretch: named, kind: Kind::Name(name) });
        }
        let (arguments, end) = self.arguments("(", ")")?;
        Ok(Syntax { stretch: named.to(end), kind: Kind::Call { name, named, on: None, arguments } })
    }

    /// What stands between two brackets, and where the second one does. A list may end in a comma.
    fn arguments(&mut self, open: &'static str, close: &'static str) -> Result<(Vec<Syntax>, Stretch), Fault> {
        self.expect(open)?;
        let mut items = Vec::new();
        let mut stretch = self.stretch();
        if self.take(close) {
            return Ok((items, stretch));
        }
        loop {
            items.push(self.expression()?);
            if !self.take(",") {
                break;
            }
            stretch = self.stretch();
            if open == "[" && self.take(close) {
                return Ok((items, stretch));
            }
        }
        Ok((items, self.expect(close)?))
    }
}

/// `match.plan`, `plan.value`: the dimension is meant.
fn field(of: &Kind, name: &str, stretch: Stretch) -> Fault {
    let fault = Fault::new(UNKNOWN, stretch, "nothing in a condition has fields").label("not a dimension");
    let own = match of {
        Kind::Name(of) => super::check::near_name(of),
        _ => None,
    };
    match super::check::near_name(name).or(own) {
        Some(near) => fault.help(format!("write `{near}`")),
        None => fault.note(super::check::names()),
    }
}
