//! The text of a condition as tokens.
//!
//! Every token of ours is a token of CEL with the same meaning. What CEL has and conditions do not is named and refused here:
//! nothing is skipped and nothing is guessed.

use super::fault::{Fault, SYNTAX, Stretch, UNKNOWN};

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, or a word of the language.
    Name(String),
    /// A text in quotes, after its escapes.
    Text(String),
    /// A whole number that is not negative.
    Number(i64),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// A token with its place.
pub(super) type Placed = (Token, Stretch);

/// Longer signs before those that they begin with.
const SIGNS: [&str; 18] =
    ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "?", ":", "(", ")", "[", "]", ",", ".", "-"];

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, Fault> {
    let mut lexer = Lexer { characters: text.chars().collect(), at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer {
    characters: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn begins(&self, sign: &str) -> bool {
        sign.chars().enumerate().all(|(ahead, character)| self.peek(ahead) == Some(character))
    }

    fn from(&self, start: usize) -> Stretch {
        Stretch { start, length: (self.at - start).max(1) }
    }

    /// The characters while they fit.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> String {
        let rest = self.characters.get(self.at..).unwrap_or_default();
        let run: String = rest.iter().copied().take_while(|character| fits(*character)).collect();
        self.at += run.chars().count();
        run
    }

    fn token(&mut self) -> Result<Option<Placed>, Fault> {
        self.run(|character| matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
        let start = self.at;
        let Some(first) = self.peek(0) else { return Ok(None) };
        let token = match (first, self.peek(1)) {
            ('\'' | '"', _) => self.text(start, false)?,
            ('r' | 'R', Some('\'' | '"')) => {
                self.at += 1;
                self.text(start, true)?
            }
            ('b' | 'B', Some('\'' | '"')) => {
                self.at += 1;
                return Err(self.refused(start, "`b` before a text means bytes, and every dimension is a text"));
            }
            ('0'..='9', _) => self.number(start)?,
            ('a'..='z' | 'A'..='Z' | '_', _) => {
                Token::Name(self.run(|character| character.is_ascii_alphanumeric() || character == '_'))
            }
            _ => self.sign(start)?,
        };
        Ok(Some((token, self.from(start))))
    }

    fn sign(&mut self, start: usize) -> Result<Token, Fault> {
        if self.begins("//") {
            self.at += 2;
            let fault = Fault::new(SYNTAX, self.from(start), "a condition holds no comments");
            return Err(fault.help("write it on a line of its own, after `#`"));
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| self.begins(sign)) {
            self.at += sign.len();
            return Ok(Token::Sign(sign));
        }
        let character = self.peek(0).unwrap_or(' ');
        self.at += 1;
        let unexpected =
            |help: &str| Fault::new(SYNTAX, self.from(start), format!("`{character}` is no operator")).help(help);
        Err(match character {
            '=' => unexpected("write `==`"),
            '&' => unexpected("write `&&`"),
            '|' => unexpected("write `||`"),
            '+' | '*' | '/' | '%' => self.refused(start, "a condition compares and does not calculate"),
            '{' | '}' => self.refused(start, "a condition holds no maps"),
            _ => Fault::new(SYNTAX, self.from(start), format!("`{character}` means nothing in a condition")),
        })
    }

    fn refused(&self, start: usize, message: &str) -> Fault {
        Fault::new(UNKNOWN, self.from(start), message).label("not part of conditions")
    }

    fn number(&mut self, start: usize) -> Result<Token, Fault> {
        let digits = if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            i64::from_str_radix(&self.run(|character| character.is_ascii_hexdigit()), 16)
        } else {
            self.run(|character| character.is_ascii_digit()).parse()
        };
        let fraction = self.peek(0) == Some('.') && self.peek(1).is_some_and(|next| next.is_ascii_digit());
        let tail = self.peek(0).is_some_and(|next| next.is_ascii_alphanumeric() || next == '_');
        if fraction || tail {
            self.run(|character| character.is_ascii_alphanumeric() || matches!(character, '.' | '_'));
            return Err(self.refused(start, "numbers are whole, and written in plain digits"));
        }
        digits.map(Token::Number).map_err(|_| {
            Fault::new(SYNTAX, self.from(start), "not a number").label(format!("the largest is {}", i64::MAX))
        })
    }

    fn text(&mut self, start: usize, raw: bool) -> Result<Token, Fault> {
        let Some(quote) = self.peek(0) else { return Err(self.unfinished(start)) };
        self.at += 1;
        if self.peek(0) == Some(quote) && self.peek(1) == Some(quote) {
            self.at += 2;
            return Err(self.refused(start, "a text stands in single or double quotes, not in three of them"));
        }
        let mut text = String::new();
        loop {
            let character = match self.peek(0) {
                None | Some('\n' | '\r') => return Err(self.unfinished(start)),
                Some(character) => character,
            };
            self.at += 1;
            match character {
                end if end == quote => return Ok(Token::Text(text)),
                '\\' if !raw => text.push(self.escape()?),
                other => text.push(other),
            }
        }
    }

    fn unfinished(&self, start: usize) -> Fault {
        Fault::new(SYNTAX, self.from(start), "a text without its closing quote").help("close it on the same line")
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at - 1;
        let letter = self.peek(0).unwrap_or(' ');
        self.at += 1;
        let digits = match letter {
            '\\' | '\'' | '"' | '`' | '?' => return Ok(letter),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'x' | 'X' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let rest = self.characters.get(self.at..).unwrap_or_default();
        let code: String = rest.iter().take(digits).filter(|digit| digit.is_ascii_hexdigit()).collect();
        self.at += code.len();
        let character = u32::from_str_radix(&code, 16).ok().filter(|_| code.len() == digits).and_then(char::from_u32);
        character.ok_or_else(|| {
            let fault = Fault::new(SYNTAX, self.from(start), format!("`\\{letter}` is no escape"));
            fault.help("write `\\\\` for a backslash, or put `r` before the text: `r'…'`")
        })
    }
}
