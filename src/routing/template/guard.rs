//! A template rewritten so that every operation on data of any size is charged to the meter.
//!
//! The engine's operators cannot be replaced, so its syntax tree is printed again with their operands
//! wrapped in guards: `a in b` becomes `(__(a) in __(b))`. Owns which part of the language is allowed: what
//! is not charged here must be charged by a filter, a test or a function of `builtins.rs`, or take
//! constant time. Line numbers are kept, for messages.

mod expressions;
mod names;
mod printer;
mod statements;

use minijinja::machinery::{parse, parse_expr};

use super::variables::Marked;
use printer::{Printer, Result};

pub(super) use names::{ITEM, JOIN, LIST, OURS, PART, READ, TIMES};
pub(super) use printer::Refused;

/// The text of a template, with guards.
pub(super) fn template(marked: &Marked) -> Result<String> {
    let syntax = minijinja::syntax::SyntaxConfig::default();
    let tree = parse(&marked.text, "template", syntax).map_err(Refused::Syntax)?;
    let mut printer = Printer::new(marked);
    printer.statement(&tree)?;
    Ok(printer.text)
}

/// An expression, with guards; `None` if the text is no expression.
pub(super) fn expression(text: &str, marked: &Marked) -> Option<Result<String>> {
    let tree = parse_expr(text).ok()?;
    let mut printer = Printer::new(marked);
    Some(printer.expression(&tree).map(|()| printer.text))
}
