//! YAML text to a [`Node`] tree: one document, the core schema of YAML 1.2, no anchors, no tags, no
//! key twice. The parser's events are read with a stack of our own, so depth costs no recursion.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use serde_json::Number;

use super::{Data, Entry, Faults, Node, Position, shown_key, unclosed::unclosed};

/// How deep maps and lists may nest: more than anyone writes, and less than JSON readers take.
const MAX_DEPTH: usize = 64;

/// Reads the one document of a file. What is wrong goes into the report; `None` when it cannot be
/// read on, or holds nothing.
pub(crate) fn read(text: &str, report: &mut impl Faults) -> Option<Node> {
    let mut builder = Builder { stack: Vec::new(), root: None, documents: 0 };
    let mut read_to = Position { line: 1, column: 1 };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                read_to = read_to.max(position(span.end));
                builder.take(event, span, report).ok()?;
            }
            Err(error) => {
                let (at, info) = (position(*error.marker()), error.info());
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

fn hint(info: &str) -> &'static str {
    if info.contains("anchor") || info.contains("alias") {
        " (anchors and aliases are not supported; quote a value that begins with `*` or `&`)"
    } else if info.contains("mapping values") || info.contains("flow") {
        " (quote a value that holds `: `, or `${...}` or `{{...}}` inside braces or brackets)"
    } else {
        ""
    }
}

/// Reading cannot go on.
struct Stop;

enum Frame {
    List { at: Position, items: Vec<Node> },
    Map { at: Position, entries: Vec<Entry>, seen: HashMap<String, Position>, key: Option<(String, Position)> },
}

struct Builder {
    stack: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
}

impl Builder {
    /// Where the lists and maps begin that are not at their end yet.
    fn open(&self) -> impl Iterator<Item = Position> {
        self.stack.iter().map(|(Frame::List { at, .. } | Frame::Map { at, .. })| *at)
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
            Event::Alias(_) => {
                refuse_anchor(at, report);
                self.value(Node { at: Some(at), data: Data::Null }, report)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                if anchor > 0 {
                    refuse_anchor(at, report);
                }
                if tag.is_some() {
                    refuse_tag(at, report);
                }
                self.scalar(&text, style, at, report)?;
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if anchor > 0 || tag.is_some() || self.stack.len() >= MAX_DEPTH =>
            {
                if anchor > 0 {
                    refuse_anchor(at, report);
                } else if tag.is_some() {
                    refuse_tag(at, report);
                } else {
                    let message = format!("expected at most {MAX_DEPTH} levels, found more: nest less deep");
                    report.fault(Some(at), message);
                }
                return Err(Stop);
            }
            Event::SequenceStart(..) => {
                self.refuse_as_key(at, report)?;
                self.stack.push(Frame::List { at, items: Vec::new() });
            }
            Event::MappingStart(..) => {
                self.refuse_as_key(at, report)?;
                self.stack.push(Frame::Map { at, entries: Vec::new(), seen: HashMap::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.stack.pop() {
                    Some(Frame::List { at, items }) => Node { at: Some(at), data: Data::List(items) },
                    Some(Frame::Map { at, entries, .. }) => Node { at: Some(at), data: Data::Map(entries) },
                    None => return Err(Stop),
                };
                self.value(node, report)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Position, report: &mut impl Faults) -> Result<(), Stop> {
        if let Some(Frame::Map { seen, key: key @ None, .. }) = self.stack.last_mut() {
            if text.is_empty() && style == ScalarStyle::Plain {
                report.fault(Some(at), "expected a key, found nothing before the colon: write a name there".to_owned());
            }
            if let Some(first) = seen.get(text) {
                report.fault(
                    Some(at),
                    format!(
                        "the key {} stands here for the second time, first in line {}: keep one",
                        shown_key(text),
                        first.line
                    ),
                );
            } else {
                seen.insert(text.to_owned(), at);
            }
            *key = Some((text.to_owned(), at));
            return Ok(());
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
        self.value(Node { at: Some(at), data }, report)
    }

    fn value(&mut self, node: Node, report: &mut impl Faults) -> Result<(), Stop> {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, seen, key, .. }) => {
                let Some((key, at)) = key.take() else {
                    report.fault(
                        node.at,
                        "expected a key, found an alias: anchors and aliases are not supported".to_owned(),
                    );
                    return Err(Stop);
                };
                // The second one of a pair was reported; the first one counts.
                if seen.get(&key) == Some(&at) {
                    entries.push(Entry { key, at: Some(at), value: node });
                }
            }
        }
        Ok(())
    }

    fn refuse_as_key(&self, at: Position, report: &mut impl Faults) -> Result<(), Stop> {
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            report.fault(
                Some(at), "expected a plain key, found a map or a list: quote a template that begins with `{{`, and write keys as words".to_owned(),
            );
            return Err(Stop);
        }
        Ok(())
    }
}

fn refuse_anchor(at: Position, report: &mut impl Faults) {
    report.fault(
        Some(at),
        "anchors and aliases are not supported: write the value out (and quote one that begins with `*` or `&`)"
            .to_owned(),
    );
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
