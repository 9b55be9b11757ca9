//! Events of the YAML parser → a tree, with the repairs that let checking go on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StructureStyle};

use crate::diagnostic::{Diagnostic, MOST_SHOWN, Place, Source};

use super::{Key, Kind, LARGEST, Node, Tree, too_large};

/// The most nodes that one file may hold, aliases counted each time they are used.
const MOST_NODES: usize = 100_000;
/// The deepest nesting.
const DEEPEST: usize = 48;

/// Reads one file.
pub fn read(source: &Source) -> Tree {
    if source.text.len() > LARGEST {
        let fault = too_large(&source.name, LARGEST as u64);
        return Tree { root: None, diagnostics: vec![fault] };
    }
    if let Some(fault) = lone_return(source) {
        return Tree { root: None, diagnostics: vec![fault] };
    }
    let mut text = source.text.to_string();
    let mut diagnostics = Vec::new();
    while diagnostics.len() < MOST_SHOWN {
        let mut builder = Builder::new(&source.name, &text);
        match builder.document() {
            Ok(root) => {
                diagnostics.append(&mut builder.diagnostics);
                return Tree { root, diagnostics };
            }
            Err(Fault::Said(diagnostic)) => {
                diagnostics.push(*diagnostic);
                break;
            }
            Err(Fault::Syntax(fault)) => {
                let Some(star) = unquoted_star(&text, &fault) else {
                    diagnostics.push(builder.syntax(&fault));
                    break;
                };
                diagnostics.push(builder.star(star));
                text.replace_range(star.offset..=star.offset, "_");
            }
        }
    }
    Tree { root: None, diagnostics }
}

/// To YAML a carriage return alone ends a line, and to editors it does not: no place behind one would be right.
fn lone_return(source: &Source) -> Option<Diagnostic> {
    let breaks = source.text.match_indices('\r').map(|(at, _)| at);
    let at = breaks.filter(|at| source.text.as_bytes().get(at + 1) != Some(&b'\n')).min()?;
    let before = source.text.get(..at)?;
    let line = number(before.matches('\n').count() + 1);
    let column = number(before.rsplit('\n').next().unwrap_or("").chars().count() + 1);
    let place = Place { line, column, ..source.start() };
    let fault = Diagnostic::error("E107", "a carriage return alone ends no line here").at(&place, "");
    Some(fault.help("save the file with the line ends of Unix or of Windows"))
}

enum Fault {
    Syntax(ScanError),
    Said(Box<Diagnostic>),
}

impl From<ScanError> for Fault {
    fn from(fault: ScanError) -> Self {
        Self::Syntax(fault)
    }
}

/// An alias sign that was meant as a glob.
#[derive(Clone, Copy)]
struct Star {
    offset: usize,
    line: usize,
    column: usize,
}

/// The `*` that a fault is about: the last one on its line up to where the parser stopped, or the one it stopped at.
fn unquoted_star(text: &str, fault: &ScanError) -> Option<Star> {
    let line = fault.marker().line();
    let line_start: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let rest = text.get(line_start..)?.lines().next()?;
    let stop = fault.marker().col();
    let is_alias = matches!(fault.kind(), ErrorKind::MissingAnchorOrAliasName | ErrorKind::UnknownAnchor);
    let from = if is_alias { 0 } else { stop };
    let reached = rest.char_indices().enumerate().take(stop + 1).skip(from);
    let (column, (offset, _)) = reached.filter(|(_, (_, character))| *character == '*').last()?;
    Some(Star { offset: line_start + offset, line, column })
}

struct Builder<'t> {
    name: Arc<str>,
    text: &'t str,
    lines: Vec<usize>,
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Builder<'t> {
    fn new(name: &Arc<str>, text: &'t str) -> Self {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: DEEPEST,
            block_nesting_limit: DEEPEST,
        };
        Self {
            name: Arc::clone(name),
            text,
            lines: text.lines().map(|line| line.chars().count()).collect(),
            parser: Parser::new_from_str_with_options(text, options),
            anchors: HashMap::new(),
            nodes: 0,
            diagnostics: Vec::new(),
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::empty(Marker::default()))),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Fault> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event if root.is_some() => {
                    drop(event);
                    let place = self.place(span.start, span.end);
                    return Err(said(&place, "a file holds one document", "a second document begins here"));
                }
                event => root = Some(self.node(event, span)?),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, Fault> {
        let place = self.place(span.start, span.end);
        self.count(1, &place)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &place);
                (scalar(&text, style, place, line_of(span.end)), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &place);
                (self.list(place)?, anchor)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &place);
                (self.map(style, place)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, &place),
            _ => return Err(said(&place, "this is not a value", "a value is expected here")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, place: &Place) -> Result<Node, Fault> {
        let Some(target) = self.anchors.get(&id).cloned() else {
            return Err(said(place, "an alias may not stand inside what it names", "refers to itself"));
        };
        self.count(size(&target), place)?;
        Ok(target)
    }

    fn count(&mut self, nodes: usize, place: &Place) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        Err(said(place, &format!("a file holds at most {MOST_NODES} values"), "aliases count each time they are used"))
    }

    fn refuse_tag(&mut self, tagged: bool, place: &Place) {
        if tagged {
            let fault = Diagnostic::error("E107", "YAML tags are not used here").at(place, "has a tag");
            self.diagnostics.push(fault.help("put the value in quotes, or leave out the word that begins with `!`"));
        }
    }

    fn list(&mut self, mut place: Place) -> Result<Node, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                let end_line = items.last().map_or(line_of(span.end), |item: &Node| item.end_line);
                place.length = place.length.max(1);
                return Ok(Node { place, end_line, kind: Kind::List(items) });
            }
            items.push(self.node(event, span)?);
        }
    }

    fn map(&mut self, style: StructureStyle, place: Place) -> Result<Node, Fault> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut known: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                let end_line = entries.last().map_or(line_of(span.end), |(_, value)| value.end_line);
                let place = first_entry(&entries).unwrap_or(place);
                return Ok(Node { place, end_line, kind: Kind::Map(entries) });
            }
            let key = self.node(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if let Some((key, value)) = self.entry(&mut entries, style, key, value) {
                match known.entry(key.text.clone()) {
                    Entry::Occupied(first) => self.twice(&key, first.get()),
                    Entry::Vacant(free) => {
                        free.insert(key.place.clone());
                        entries.push((key, value));
                    }
                }
            }
        }
    }

    /// The key as a text. `None`: it is none, or it belongs to the value before it.
    fn entry(
        &mut self,
        entries: &mut [(Key, Node)],
        style: StructureStyle,
        key: Node,
        value: Node,
    ) -> Option<(Key, Node)> {
        let text = match key.kind {
            Kind::Scalar { text, .. } => text,
            Kind::Null => self.slice(&key.place),
            Kind::List(_) | Kind::Map(_) => {
                self.diagnostics.push(Diagnostic::error("E107", "a key must be a text").at(&key.place, "not a text"));
                return None;
            }
        };
        let key = Key { text, place: key.place };
        let rejoined = matches!(style, StructureStyle::Flow) && value.kind == Kind::Null && self.rejoin(entries, &key);
        (!rejoined).then_some((key, value))
    }

    fn twice(&mut self, key: &Key, first: &Place) {
        let fault = Diagnostic::error("E103", format!("`{}` is given twice", key.text)).at(&key.place, "again here");
        self.diagnostics.push(fault.see(first, "first given here").help("keep one of the two"));
    }

    /// `$4,000/month` inside `{ }` arrives as `$4` and a key `000/month`: says so and puts the value together again.
    fn rejoin(&mut self, entries: &mut [(Key, Node)], key: &Key) -> bool {
        let groups = key.text.bytes().take_while(u8::is_ascii_digit).count() == 3;
        let Some((_, Node { kind: Kind::Scalar { text, quoted: false }, place, .. })) = entries.last_mut() else {
            return false;
        };
        let touches = place.line == key.place.line && place.column + place.length + 1 == key.place.column;
        if !groups || !touches || !text.ends_with(|last: char| last.is_ascii_digit()) {
            return false;
        }
        let comma = Place { column: key.place.column - 1, length: 1, ..key.place.clone() };
        let left = text.clone();
        text.push_str(&key.text);
        place.length += 1 + key.place.length;
        let label = format!("YAML ends the value here, leaving `{left}`");
        let fault = Diagnostic::error("E108", "thousands separator splits this value").at(&comma, label);
        self.diagnostics.retain(|one| !(one.code == "E108" && one.place.as_ref().is_some_and(|at| inside(at, place))));
        self.diagnostics.push(fault.help(format!("write `{text}`")));
        true
    }

    fn slice(&self, place: &Place) -> String {
        let line = usize::try_from(place.line.saturating_sub(1)).unwrap_or(0);
        let column = usize::try_from(place.column.saturating_sub(1)).unwrap_or(0);
        let length = usize::try_from(place.length).unwrap_or(0);
        self.text
            .lines()
            .nth(line)
            .unwrap_or("")
            .chars()
            .skip(column)
            .take(length)
            .collect::<String>()
            .trim()
            .to_owned()
    }

    fn place(&self, start: Marker, end: Marker) -> Place {
        let rest =
            self.lines.get(start.line().saturating_sub(1)).map_or(0, |length| length.saturating_sub(start.col()));
        let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { rest };
        Place {
            file: Arc::clone(&self.name),
            line: line_of(start),
            column: number(start.col() + 1),
            length: number(length.max(1)),
        }
    }

    fn syntax(&self, fault: &ScanError) -> Diagnostic {
        let place = self.place(*fault.marker(), *fault.marker());
        let diagnostic = Diagnostic::error("E101", format!("not valid YAML: {}", fault.info())).at(&place, "");
        match fault.kind() {
            ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation => {
                diagnostic.help("indent with spaces, not tabs")
            }
            _ if fault.info().starts_with("mapping values") => diagnostic.help("put a value that holds `: ` in quotes"),
            _ => diagnostic,
        }
    }

    fn star(&self, star: Star) -> Diagnostic {
        let rest = self.text.get(star.offset..).unwrap_or("").lines().next().unwrap_or("");
        let rest = rest.split(" #").next().unwrap_or("").trim_end();
        let end = rest.find([':', ',', '}', ']', ' ']).unwrap_or(rest.len());
        let (glob, tail) = rest.split_at(end);
        let tail = if tail.starts_with(':') { tail } else { "" };
        let place = Place {
            file: Arc::clone(&self.name),
            line: number(star.line),
            column: number(star.column + 1),
            length: number(glob.chars().count().max(1)),
        };
        Diagnostic::error("E102", format!("`{glob}` must be quoted"))
            .at(&place, "a bare `*` starts a YAML alias")
            .help(format!("write `\"{glob}\"{tail}`"))
    }
}

fn inside(at: &Place, value: &Place) -> bool {
    at.line == value.line && at.column > value.column && at.column < value.column + value.length
}

fn said(place: &Place, message: &str, label: &str) -> Fault {
    Fault::Said(Box::new(Diagnostic::error("E107", message).at(place, label)))
}

fn scalar(text: &str, style: ScalarStyle, place: Place, end_line: u32) -> Node {
    let quoted = style != ScalarStyle::Plain;
    let kind = match text {
        "" | "~" | "null" | "Null" | "NULL" if !quoted => Kind::Null,
        _ => Kind::Scalar { text: text.to_owned(), quoted },
    };
    Node { place, end_line, kind }
}

/// From the first key to the end of its value, as far as they share a line.
fn first_entry(entries: &[(Key, Node)]) -> Option<Place> {
    let (key, value) = entries.first()?;
    let mut place = key.place.clone();
    if matches!(value.kind, Kind::Scalar { .. }) && value.place.line == place.line && value.place.column > place.column
    {
        place.length = value.place.column + value.place.length - place.column;
    }
    Some(place)
}

fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::Null | Kind::Scalar { .. } => 1,
        Kind::List(items) => items.iter().fold(1, |sum, item| sum + size(item)),
        Kind::Map(entries) => entries.iter().fold(1, |sum, (_, value)| sum + 1 + size(value)),
    }
}

fn line_of(marker: Marker) -> u32 {
    number(marker.line())
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
