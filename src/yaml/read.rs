//! YAML text to a [`Node`] tree: one document, the core schema of YAML 1.2 and the merge key of 1.1, no tags, no key twice. The
//! parser's events are read with a stack of our own, so depth costs no recursion.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use serde_json::Number;

use super::{
    Data, Entry, Faults, Node, Position,
    anchors::{Anchors, Expansion, NoValue, merged},
    shown_key,
    unclosed::unclosed,
};

/// How deep maps and lists may nest: more than anyone writes, and less than JSON readers take.
const MAX_DEPTH: usize = 64;

/// The key of YAML 1.1 whose value is a map with more keys, or a list of such maps.
const MERGE: &str = "<<";

/// Reads the one document of a file. What is wrong goes into the report; `None` when it cannot be
/// read on, or holds nothing.
pub(crate) fn read(text: &str, report: &mut impl Faults) -> Option<Node> {
    read_within(text, &mut Expansion::default(), report)
}

/// As [`read`], for one of several texts whose aliases have a limit together.
pub(crate) fn read_within(text: &str, expansion: &mut Expansion, report: &mut impl Faults) -> Option<Node> {
    let mut builder = Builder { stack: Vec::new(), root: None, documents: 0, anchors: Anchors::new(expansion) };
    let mut read_to = Position { line: 1, column: 1 };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                read_to = read_to.max(position(span.end));
                builder.take(event, span, report).ok()?;
            }
            Err(error) => {
                let (at, info) = (position(*error.marker()), error.info());
                let at = if info.contains("tabs") { first_tab(text, at) } else { at };
                let (at, message) = unclosed(text, builder.open(), read_to, at, info)
                    .unwrap_or_else(|| (at, format!("expected YAML: {info}{}", hint(info))));
                report.fault(Some(at), message);
                return None;
            }
        }
    }
    builder.root
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// The first tab of the line, which the parser has read already.
fn first_tab(text: &str, at: Position) -> Position {
    let column = text.lines().nth(at.line - 1).and_then(|line| line.chars().position(|c| c == '\t'));
    column.map_or(at, |column| Position { column: column + 1, ..at })
}

fn hint(info: &str) -> &'static str {
    if info.contains("anchor") || info.contains("alias") {
        " (`*name` stands for what `&name` marked before it; quote a value that begins with `*` or `&`)"
    } else if info.contains("tabs") {
        " (indent with spaces)"
    } else if info.contains("mapping values") || info.contains("flow") {
        " (quote a value that holds `: `, or `${...}` or `{{...}}` inside braces or brackets)"
    } else {
        ""
    }
}

/// Reading cannot go on.
struct Stop;

enum Frame {
    List { at: Position, anchor: usize, items: Vec<Node> },
    Map(Map),
}

struct Map {
    at: Position,
    /// 0 for none.
    anchor: usize,
    entries: Vec<Entry>,
    seen: HashMap<String, Position>,
    /// The key whose value is next.
    key: Option<Key>,
    /// What merge keys add.
    merged: Vec<Vec<Entry>>,
}

struct Key {
    text: String,
    at: Position,
    merges: bool,
}

impl Map {
    /// Its own entries, then those of merged maps that it does not have itself; of two, the first one counts.
    fn finish(mut self) -> Data {
        for entry in self.merged.into_iter().flatten() {
            if !self.seen.contains_key(&entry.key) {
                self.seen.insert(entry.key.clone(), entry.at.unwrap_or(self.at));
                self.entries.push(entry);
            }
        }
        self.entries.shrink_to_fit();
        Data::Map(self.entries)
    }

    /// A key.
    fn begin(&mut self, text: &str, style: ScalarStyle, at: Position, report: &mut impl Faults) {
        let is_plain = style == ScalarStyle::Plain;
        if text.is_empty() && is_plain {
            report.fault(Some(at), "expected a key, found nothing before the colon: write a name there".to_owned());
        }
        let merges = is_plain && text == MERGE;
        if let Some(first) = self.seen.get(text) {
            let (shown, remedy) = if merges {
                ("`<<`".to_owned(), "write one, with a list: `<<: [*a, *b]`")
            } else {
                (shown_key(text), "keep one")
            };
            let line = first.line;
            let message = format!("the key {shown} stands here for the second time, first in line {line}: {remedy}");
            report.fault(Some(at), message);
        } else {
            self.seen.insert(text.to_owned(), at);
        }
        self.key = Some(Key { text: text.to_owned(), at, merges });
    }

    /// The value of the key.
    fn end(&mut self, node: Node, report: &mut impl Faults) -> Result<(), Stop> {
        let Key { text, at, merges } = self.key.take().ok_or(Stop)?;
        // The second one of a pair was reported; the first one counts.
        if self.seen.get(&text) != Some(&at) {
            return Ok(());
        }
        if !merges {
            self.entries.push(Entry { key: text, at: Some(at), value: node });
            return Ok(());
        }
        let found = node.found_type();
        if let Some(maps) = merged(node) {
            self.merged.extend(maps);
        } else {
            let message = format!("expected a map after `<<`, or a list of maps, found {found}: as in `<<: *base`");
            report.fault(Some(at), message);
        }
        Ok(())
    }
}

struct Builder<'e> {
    stack: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    anchors: Anchors<'e>,
}

impl Builder<'_> {
    /// Where the lists and maps begin that are not at their end yet.
    fn open(&self) -> impl Iterator<Item = Position> {
        self.stack.iter().map(|(Frame::List { at, .. } | Frame::Map(Map { at, .. }))| *at)
    }

    fn take(&mut self, event: Event<'_>, span: Span, report: &mut impl Faults) -> Result<(), Stop> {
        let at = position(span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    report.fault(
                        Some(at),
                        "expected one YAML document in a file, found another one: put it into a file of its own"
                            .to_owned(),
                    );
                    return Err(Stop);
                }
            }
            Event::Alias(anchor) => self.alias(anchor, at, report)?,
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    refuse_tag(at, report);
                }
                self.scalar(&text, style, anchor, at, report)?;
            }
            Event::SequenceStart(_, tag) | Event::MappingStart(_, tag)
                if tag.is_some() || self.stack.len() >= MAX_DEPTH =>
            {
                if tag.is_some() {
                    refuse_tag(at, report);
                } else {
                    too_deep(at, report);
                }
                return Err(Stop);
            }
            Event::SequenceStart(anchor, _) => {
                self.refuse_as_key(at, report)?;
                self.stack.push(Frame::List { at, anchor, items: Vec::new() });
            }
            Event::MappingStart(anchor, _) => {
                self.refuse_as_key(at, report)?;
                let (entries, seen, merged) = (Vec::new(), HashMap::new(), Vec::new());
                self.stack.push(Frame::Map(Map { at, anchor, entries, seen, key: None, merged }));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (anchor, node) = match self.stack.pop() {
                    Some(Frame::List { at, anchor, mut items }) => {
                        // Room for three more in each list of one would be most of the tree.
                        items.shrink_to_fit();
                        (anchor, Node { at: Some(at), data: Data::List(items) })
                    }
                    Some(Frame::Map(map)) => (map.anchor, Node { at: Some(map.at), data: map.finish() }),
                    None => return Err(Stop),
                };
                self.keep(anchor, &node, report)?;
                self.value(node, report)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        at: Position,
        report: &mut impl Faults,
    ) -> Result<(), Stop> {
        if let Some(Frame::Map(map @ Map { key: None, .. })) = self.stack.last_mut() {
            map.begin(text, style, at, report);
            return self.keep(anchor, &Node { at: Some(at), data: Data::Text(text.to_owned()) }, report);
        }
        let data = if style == ScalarStyle::Plain {
            plain(text).unwrap_or_else(|reason| {
                // A long one may be a key that was left without quotes.
                let found = if text.len() <= 8 { text } else { "a long number" };
                report.fault(Some(at), format!("expected a value that JSON can hold, found {found}: {reason}"));
                Data::Null
            })
        } else {
            Data::Text(text.to_owned())
        };
        let node = Node { at: Some(at), data };
        self.keep(anchor, &node, report)?;
        self.value(node, report)
    }

    /// Keeps a value that has an anchor.
    fn keep(&mut self, anchor: usize, node: &Node, report: &mut impl Faults) -> Result<(), Stop> {
        if anchor == 0 || self.anchors.keep(anchor, node) {
            return Ok(());
        }
        too_much(node.at, report);
        Err(Stop)
    }

    /// Puts a copy of what an alias stands for in its place.
    fn alias(&mut self, anchor: usize, at: Position, report: &mut impl Faults) -> Result<(), Stop> {
        if let Some(Frame::Map(Map { key: None, .. })) = self.stack.last() {
            report.fault(Some(at), "expected a key, found an alias: write the key out".to_owned());
            return Err(Stop);
        }
        match self.anchors.value(anchor) {
            Ok((_, depth)) if self.stack.len() + depth > MAX_DEPTH => too_deep(at, report),
            Ok((node, _)) => return self.value(node, report),
            Err(NoValue::TooMuch) => too_much(Some(at), report),
            Err(NoValue::Inside) => {
                let message =
                    "expected an alias of a value that ends before it, found one inside the value itself: take it out";
                report.fault(Some(at), message.to_owned());
            }
        }
        Err(Stop)
    }

    fn value(&mut self, node: Node, report: &mut impl Faults) -> Result<(), Stop> {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map(map)) => map.end(node, report)?,
        }
        Ok(())
    }

    fn refuse_as_key(&self, at: Position, report: &mut impl Faults) -> Result<(), Stop> {
        if let Some(Frame::Map(Map { key: None, .. })) = self.stack.last() {
            report.fault(
                Some(at), "expected a plain key, found a map or a list: quote a template that begins with `{{`, and write keys as words".to_owned(),
            );
            return Err(Stop);
        }
        Ok(())
    }
}

fn too_deep(at: Position, report: &mut impl Faults) {
    report.fault(Some(at), format!("expected at most {MAX_DEPTH} levels, found more: nest less deep"));
}

fn too_much(at: Option<Position>, report: &mut impl Faults) {
    let (values, bytes) = (Expansion::MOST.values, Expansion::MOST.bytes);
    let message = format!(
        "expected anchors and aliases that stand for at most {values} values and {bytes} bytes of text, in all files together, \
         found more: write fewer aliases"
    );
    report.fault(at, message);
}

fn refuse_tag(at: Position, report: &mut impl Faults) {
    report.fault(Some(at), "tags are not supported: quote the value if it is a string that begins with `!`".to_owned());
}

/// A plain scalar by the core schema.
fn plain(text: &str) -> Result<Data, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Data::Null),
        "true" | "True" | "TRUE" => return Ok(Data::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Data::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Ok(Data::Text(text.to_owned()));
    }
    if let Some((radix, digits)) =
        text.strip_prefix("0o").map(|digits| (8, digits)).or_else(|| text.strip_prefix("0x").map(|digits| (16, digits)))
        && !digits.is_empty()
        && digits.chars().all(|c| c.is_digit(radix))
    {
        return u64::from_str_radix(digits, radix)
            .map(|number| Data::Number(number.into()))
            .map_err(|_| "the number needs more than 64 bits; quote it if it is a string");
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Err("JSON has no infinity; quote it if it is a string"),
        ".nan" | ".NaN" | ".NAN" if unsigned == text => {
            return Err("JSON has no NaN; quote it if it is a string");
        }
        _ => {}
    }
    let canonical = text.strip_prefix('+').unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        if let Ok(number) = canonical.parse::<i64>() {
            return Ok(Data::Number(number.into()));
        }
        if let Ok(number) = canonical.parse::<u64>() {
            return Ok(Data::Number(number.into()));
        }
    } else if !is_float(unsigned) {
        return Ok(Data::Text(text.to_owned()));
    }
    canonical
        .parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Data::Number)
        .ok_or("the number is out of the range of f64; quote it if it is a string")
}

/// `[0-9]+ ( \. [0-9]* )? | \. [0-9]+`, then an optional exponent.
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    !(whole.is_empty() && fraction.is_empty()) && digits(whole) && digits(fraction) && exponent_ok
}

#[cfg(test)]
mod tests;
