//! Why a text cannot be read on: a brace, a bracket or a quote that is not closed, and where it stands. The parser says
//! where it gave up, which may be many lines below.

use super::Position;

/// The message for an error at `at`, and the position of the character that is not closed. `open` are the positions of
/// the lists and maps that the error is in, and `read_to` is the end of what was read before it.
pub(super) fn unclosed(
    text: &str,
    open: impl Iterator<Item = Position>,
    read_to: Position,
    at: Position,
    info: &str,
) -> Option<(Position, String)> {
    if let Some(quote @ ('"' | '\'')) = character(text, at)
        && info.contains("quoted scalar")
        && info.contains("indentation")
    {
        let cause = "is not closed, or its text goes on in a line that is not indented more than its key";
        return Some((at, format!("expected YAML: this {quote} {cause}: close it, or indent that line")));
    }
    if let Some(quote @ ('"' | '\'')) = character(text, at)
        && info.contains("quoted scalar")
        && info.contains("end of stream")
    {
        return Some((at, format!("expected YAML: this {quote} is not closed: write another one where the text ends")));
    }
    let mut brackets: Vec<(Position, char)> =
        open.filter_map(|at| Some((at, character(text, at).filter(|c| is_opening(*c))?))).collect();
    scan(text, read_to, at, &mut brackets);
    let (opened, bracket) = brackets.pop()?;
    let closing = if bracket == '{' { '}' } else { ']' };
    let found = character(text, at);
    let is_other = matches!(found, Some('}' | ']')) && found != Some(closing);
    let is_dedented = at.line > opened.line && indentation(text, at.line) <= indentation(text, opened.line);
    let end = text.lines().count();
    let place = if at.line > end {
        "the end of the file".to_owned()
    } else if is_other || is_dedented {
        format!("line {}, column {}", at.line, at.column)
    } else {
        return None;
    };
    Some((opened, format!("expected YAML: this `{bracket}` is not closed: expected `{closing}` before {place}")))
}

/// Follows the brackets from one position to another: what the parser has looked at and has not reported yet.
fn scan(text: &str, from: Position, to: Position, brackets: &mut Vec<(Position, char)>) {
    let mut quote = None;
    let mut before = ' ';
    let lines = text.lines().enumerate().skip(from.line - 1).take((to.line + 1).saturating_sub(from.line));
    for (index, line) in lines {
        let line_number = index + 1;
        for (column, c) in line.chars().enumerate().map(|(index, c)| (index + 1, c)) {
            let at = Position { line: line_number, column };
            if at < from || at >= to {
                continue;
            }
            let begins = before.is_whitespace() || matches!(before, '[' | '{' | ',' | ':');
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '"' | '\'') if begins => quote = Some(c),
                (None, '#') if before.is_whitespace() => break,
                (None, c) if is_opening(c) && (begins || !brackets.is_empty()) => brackets.push((at, c)),
                (None, ']' | '}') => drop(brackets.pop()),
                _ => {}
            }
            before = c;
        }
        before = ' ';
    }
}

fn is_opening(c: char) -> bool {
    matches!(c, '{' | '[')
}

fn character(text: &str, at: Position) -> Option<char> {
    text.lines().nth(at.line.checked_sub(1)?)?.chars().nth(at.column.checked_sub(1)?)
}

fn indentation(text: &str, line: usize) -> usize {
    text.lines().nth(line - 1).map_or(0, |line| line.chars().take_while(|c| *c == ' ').count())
}
