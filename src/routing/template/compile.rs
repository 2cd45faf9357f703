//! Compiles a tree of a routing file into a template: literals, expressions and texts. Reports the mistakes that can be
//! found without an event.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Value, json};

use super::{
    convert, engine,
    error::shown_template,
    guard,
    meter::Meter,
    piece::{CAUGHT, Leaf, Piece, Template},
    variables::{Marked, Part},
};
use crate::{
    event::{Event, decode},
    routing::{pattern::PathStep, problem::Report},
    yaml::{Data, Node, Position, suggestion},
};

/// The longest text with a template in it, in bytes.
const MAX_SOURCE: usize = 32 << 10;

/// The most texts with a template in them that one template may have.
const MAX_LEAVES: usize = 2_000;

/// Compiles the templates of a folder into one engine.
pub(in crate::routing) struct Compiler {
    engine: Environment<'static>,
    /// Under which name it holds each source: rules that write the same text share the template.
    names: HashMap<String, Arc<str>>,
    sample: Option<Arc<Event>>,
}

/// What stands in a text; `None` when that was reported as a mistake.
pub(in crate::routing) type Parts<'a> = &'a dyn Fn(&str, Option<Position>, &mut Report) -> Option<Vec<Part>>;

/// One template being compiled.
struct Scope<'a> {
    what: &'a str,
    path: String,
    known: &'a BTreeSet<&'a str>,
    leaves: usize,
    parts: Parts<'a>,
    report: &'a mut Report,
}

impl Compiler {
    pub(in crate::routing) fn new() -> Self {
        let mut engine = engine::engine();
        // While checking, only what is wrong for every event counts.
        engine.set_undefined_behavior(UndefinedBehavior::Chainable);
        Self { engine, names: HashMap::new(), sample: sample() }
    }

    /// The engine that holds every template, ready to render.
    pub(in crate::routing) fn finish(mut self) -> Environment<'static> {
        self.engine.set_undefined_behavior(UndefinedBehavior::Strict);
        self.engine
    }

    /// Compiles the template under `key` of `what`, such as a rule. `names` are top-level fields that
    /// may be named besides those that every event has. Without `parts`, a text has no variables.
    pub(in crate::routing) fn template(
        &mut self,
        what: &str,
        key: &str,
        node: &Node,
        names: &BTreeSet<&str>,
        parts: Option<Parts<'_>>,
        report: &mut Report,
    ) -> Template {
        let known: BTreeSet<_> =
            Event::FIELDS.into_iter().chain([convert::EVENT]).chain(names.iter().copied()).collect();
        let parts = parts.unwrap_or(&|text, _, _| Some(vec![Part::Text(text.to_owned())]));
        let mut scope = Scope { what, path: key.to_owned(), known: &known, leaves: 0, parts, report };
        let root = self.piece(node, &mut scope);
        Template { root }
    }

    fn piece(&mut self, node: &Node, scope: &mut Scope<'_>) -> Piece {
        match &node.data {
            Data::Text(text) => self.text(text, node.at, scope),
            Data::List(items) => {
                let items: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.within(PathStep::Item(index), item, scope))
                    .collect();
                match items.iter().map(Piece::literal).collect::<Option<Vec<_>>>() {
                    Some(values) => Piece::Literal(Value::Array(values)),
                    None => Piece::List(items),
                }
            }
            Data::Map(entries) => {
                let fields: Vec<_> = entries
                    .iter()
                    .map(|entry| (entry.key.clone(), self.within(PathStep::Key(&entry.key), &entry.value, scope)))
                    .collect();
                let literal = |(key, piece): &(String, Piece)| Some((key.clone(), piece.literal()?));
                match fields.iter().map(literal).collect() {
                    Some(fields) => Piece::Literal(Value::Object(fields)),
                    None => Piece::Map(fields),
                }
            }
            _ => Piece::Literal(node.to_json()),
        }
    }

    fn within(&mut self, step: PathStep<'_>, node: &Node, scope: &mut Scope<'_>) -> Piece {
        let length = scope.path.len();
        step.append(&mut scope.path);
        let piece = self.piece(node, scope);
        scope.path.truncate(length);
        piece
    }

    /// Whether a text is a template is decided by what the file says, never by the value of a variable.
    fn text(&mut self, text: &str, at: Option<Position>, scope: &mut Scope<'_>) -> Piece {
        let Some(parts) = (scope.parts)(text, at, scope.report) else { return Piece::Literal(Value::Null) };
        let marked = Marked::new(parts);
        if marked.text.contains("{{") || marked.text.contains("{%") {
            return self.leaf(text, &marked, at, scope);
        }
        Piece::Literal(Value::String(marked.filled(&marked.text).into_owned()))
    }

    fn leaf(&mut self, text: &str, marked: &Marked, at: Option<Position>, scope: &mut Scope<'_>) -> Piece {
        scope.leaves += 1;
        if scope.leaves > MAX_LEAVES {
            if scope.leaves == MAX_LEAVES + 1 {
                scope.error(at, &format!("expected at most {MAX_LEAVES} texts with a template in them, found more"));
            }
            return Piece::Literal(Value::Null);
        }
        let length = marked.filled(&marked.text).len();
        if length > MAX_SOURCE {
            scope.error(at, &format!("expected a template of at most {MAX_SOURCE} bytes, found {length}: shorten it"));
            return Piece::Literal(Value::Null);
        }
        let single = single_expression(&marked.text).and_then(|inner| guard::expression(inner, marked));
        let is_single = single.is_some();
        let source = match single {
            Some(inner) => inner.map(|inner| format!("{{% set {CAUGHT} = ({inner}) %}}")),
            None => guard::template(marked),
        };
        let has_variables = marked.has_variables();
        let mut name = Arc::default();
        match source.map(|source| self.add(source)) {
            Ok(Ok(added)) => {
                self.check(&added, has_variables, at, scope);
                name = added;
            }
            Ok(Err(error)) => scope.no_template(at, text, &engine::explain(&error, has_variables)),
            // The parser has seen marks only, and no values.
            Err(guard::Refused::Syntax(error)) => {
                scope.no_template(at, text, &marked.written(&engine::explain(&error, false)));
            }
            Err(guard::Refused::Unsupported { what, line }) => {
                let place = if line > 1 { format!(" (in line {line} of the template)") } else { String::new() };
                let what = marked.written(&what);
                scope.error(at, &format!("templates here do not have {what}{place}: take it out"));
            }
        }
        let leaf = Leaf { path: scope.path.as_str().into(), source: text.into(), has_variables, name };
        if is_single { Piece::Expression(leaf) } else { Piece::Text(leaf) }
    }

    /// The name of the template with this source.
    fn add(&mut self, source: String) -> Result<Arc<str>, Error> {
        if let Some(name) = self.names.get(&source) {
            return Ok(Arc::clone(name));
        }
        let name: Arc<str> = format!("t{}", self.names.len()).into();
        self.engine.add_template_owned(name.to_string(), source.clone())?;
        self.names.insert(source, Arc::clone(&name));
        Ok(name)
    }

    /// What is wrong with a template whatever the event: unknown names, filters, tests, functions.
    fn check(&self, name: &str, has_variables: bool, at: Option<Position>, scope: &mut Scope<'_>) {
        let Ok(template) = self.engine.get_template(name) else { return };
        let globals: BTreeSet<_> = self.engine.globals().map(|(name, _)| name.to_owned()).collect();
        let unknown: BTreeSet<_> = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !scope.known.contains(name.as_str()) && !globals.contains(name))
            .collect();
        for name in &unknown {
            let close = suggestion(name, scope.known.iter().copied());
            let known = scope.known.iter().copied().collect::<Vec<_>>().join(", ");
            let advice = format!("a template knows {known}, and what `when` names");
            scope.error(at, &format!("unknown name `{name}`{close} ({advice})"));
        }
        if !unknown.is_empty() {
            return;
        }
        let Some(sample) = &self.sample else { return };
        if let Err(error) = template.render(convert::context(sample, &Meter::new()))
            && wrong_for_every_event(&error)
        {
            scope.error(at, &engine::explain(&error, has_variables));
        }
    }
}

impl Scope<'_> {
    fn no_template(&mut self, at: Option<Position>, text: &str, reason: &str) {
        self.error(at, &format!("expected a template, found {}: {reason}", shown_template(text)));
    }

    fn error(&mut self, at: Option<Position>, message: &str) {
        self.report.error(at, format!("{}, {}: {message}", self.what, self.path));
    }
}

/// What stands between `{{` and `}}`, when they are the first and the last.
fn single_expression(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    // `{{- ... -}}` cuts white space around it, of which there is none.
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix('-').unwrap_or(inner))
}

fn wrong_for_every_event(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::MissingArgument
            | ErrorKind::TooManyArguments
    )
}

fn sample() -> Option<Arc<Event>> {
    let event = json!({
        "event_id": "0", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-01T00:00:00Z", "source": "AIRFLOW",
        "workflow_id": "w", "workflow_run_id": "r", "payload": {"data": {}}, "metadata": {}
    });
    decode(event.to_string().as_bytes()).ok().map(Arc::new)
}
