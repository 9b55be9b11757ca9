//! As much of regular expressions as our patterns use: the words that all dialects share. What is not known here fails.

use std::collections::BTreeSet;

/// A part of a pattern.
#[derive(Debug)]
enum Part {
    Letter(char),
    Class(Vec<(char, char)>),
    Space,
    Start,
    End,
    Either(Vec<Vec<Part>>),
    Times(Box<Part>, usize, usize),
}

/// Whether some part of a text fits a pattern, as JSON Schema asks.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut letters = pattern.chars().peekable();
    let parts = Part::Either(alternatives(&mut letters));
    assert_eq!(letters.next(), None, "a bracket too many in {pattern}");
    let text: Vec<char> = text.chars().collect();
    (0..=text.len()).any(|from| !parts.ends(&text, from).is_empty())
}

type Letters<'p> = std::iter::Peekable<std::str::Chars<'p>>;

fn alternatives(letters: &mut Letters<'_>) -> Vec<Vec<Part>> {
    let mut all = vec![Vec::new()];
    while let Some(letter) = letters.next_if(|letter| *letter != ')') {
        if letter == '|' {
            all.push(Vec::new());
            continue;
        }
        let part = part(letter, letters);
        all.last_mut().expect("one at least").push(counted(part, letters));
    }
    all
}

fn part(letter: char, letters: &mut Letters<'_>) -> Part {
    match letter {
        '^' => Part::Start,
        '$' => Part::End,
        '\\' => match letters.next().expect("an escaped letter") {
            's' => Part::Space,
            plain => {
                assert!(!plain.is_alphanumeric(), "`\\{plain}` is not known here");
                Part::Letter(plain)
            }
        },
        '(' => {
            let all = alternatives(letters);
            assert_eq!(letters.next(), Some(')'));
            Part::Either(all)
        }
        '[' => {
            let inside: Vec<char> = letters.by_ref().take_while(|letter| *letter != ']').collect();
            let mut ranges = Vec::new();
            let mut at = 0;
            while at < inside.len() {
                let is_range = inside.get(at + 1) == Some(&'-') && at + 2 < inside.len();
                ranges.push((inside[at], inside[if is_range { at + 2 } else { at }]));
                at += if is_range { 3 } else { 1 };
            }
            Part::Class(ranges)
        }
        '.' | '?' | '*' | '+' | '{' | ']' | '}' => panic!("`{letter}` is not known here"),
        letter => Part::Letter(letter),
    }
}

fn counted(part: Part, letters: &mut Letters<'_>) -> Part {
    match letters.next_if(|letter| matches!(letter, '?' | '*' | '+' | '{')) {
        Some('?') => Part::Times(Box::new(part), 0, 1),
        Some('*') => Part::Times(Box::new(part), 0, usize::MAX),
        Some('+') => Part::Times(Box::new(part), 1, usize::MAX),
        Some(_) => {
            let count: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
            let count = count.parse().expect("one number");
            Part::Times(Box::new(part), count, count)
        }
        None => part,
    }
}

impl Part {
    /// Where the part may end when it begins at `from`.
    fn ends(&self, text: &[char], from: usize) -> BTreeSet<usize> {
        let next = |fits: bool| BTreeSet::from_iter(fits.then_some(from + 1));
        let letter = text.get(from);
        match self {
            Self::Letter(own) => next(letter == Some(own)),
            Self::Class(ranges) => {
                next(letter.is_some_and(|letter| ranges.iter().any(|(low, high)| (low..=high).contains(&letter))))
            }
            Self::Space => next(letter.is_some_and(|letter| letter.is_whitespace())),
            Self::Start => BTreeSet::from_iter((from == 0).then_some(0)),
            Self::End => BTreeSet::from_iter((from == text.len()).then_some(from)),
            Self::Either(all) => {
                let ends = |parts: &Vec<Self>| {
                    parts.iter().fold(BTreeSet::from([from]), |reached, part| {
                        reached.into_iter().flat_map(|from| part.ends(text, from)).collect()
                    })
                };
                all.iter().flat_map(ends).collect()
            }
            Self::Times(part, least, most) => {
                let (mut reached, mut all) = (BTreeSet::from([from]), BTreeSet::new());
                for count in 0..=*most {
                    if count >= *least {
                        let known = all.len();
                        all.extend(&reached);
                        if all.len() == known {
                            break;
                        }
                    }
                    reached = reached.into_iter().flat_map(|from| part.ends(text, from)).collect();
                }
                all
            }
        }
    }
}

#[test]
fn patterns_are_read_as_every_dialect_reads_them() {
    for (pattern, yes, no) in [
        (r"^[0-9]+(\.[0-9]*)?\s*%$", vec!["80%", "8.5 %", "1.%"], vec!["", "%", "80", ".5%", "80%x", "x80%"]),
        ("^(a|bc)*$", vec!["", "abc", "bcbca"], vec!["b", "ac"]),
        ("^[A-Z]{3}$", vec!["EUR"], vec!["EU", "EURO", "eur"]),
        (r"^\$x", vec!["$x", "$xy"], vec!["x", "y$x"]),
        ("[0-9:T]", vec!["a:", "T"], vec!["a"]),
    ] {
        for text in yes {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for text in no {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
