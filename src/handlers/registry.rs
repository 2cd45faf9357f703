//! The registry: names, event types, functions and settings, checked.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::options::HandlerOptions;
use crate::{
    agents::{AgentSpec, Endpoint, HandlerFunction, HandlerSpec},
    event::{EventType, MAX_NAME_BYTES},
};

/// A handler, before it is checked.
pub(crate) struct Registration {
    /// Its name.
    pub name: String,
    /// The type of the events that it gets.
    pub event_type: EventType,
    /// What is called.
    pub function: Arc<HandlerFunction>,
    /// Its settings.
    pub options: HandlerOptions,
}

/// A rule of the registry: an event type, and its handlers in the order of registration.
#[derive(Debug)]
pub(super) struct Handled {
    pub(super) rule: Arc<str>,
    pub(super) agents: Vec<Arc<str>>,
}

/// The handlers of a program, by name and by event type.
#[derive(Debug, Default)]
pub(crate) struct Handlers {
    pub(super) agents: BTreeMap<Arc<str>, Arc<AgentSpec>>,
    pub(super) rules: HashMap<EventType, Handled>,
    /// Events of other types are no mistake.
    pub(super) passes_others: bool,
}

impl Handlers {
    /// Checks what was registered.
    ///
    /// # Errors
    /// Every mistake.
    pub(crate) fn new(registrations: Vec<Registration>) -> Result<Self, Vec<String>> {
        let mut handlers = Self::default();
        let mut problems = Vec::new();
        for registration in registrations {
            let Registration { name, event_type, function, options } = registration;
            problems.extend(name_problem(&name));
            problems.extend(type_problem(&name, event_type.as_str()));
            problems.extend(options.problems(&name));
            let name: Arc<str> = name.into();
            if handlers.agents.contains_key(&name) {
                problems
                    .push(format!("handler `{name}`: two have this name, which is a handler's identity: rename one"));
                continue;
            }
            // As records are read: any spelling of a known type.
            let event_type = EventType::read(event_type.as_str());
            let rule = || Handled { rule: event_type.as_str().into(), agents: Vec::new() };
            handlers.rules.entry(event_type.clone()).or_insert_with(rule).agents.push(Arc::clone(&name));
            let spec = HandlerSpec { name: Arc::clone(&name), function, timeout: options.timeout };
            let spec = options.agent(Arc::clone(&name), Endpoint::Handler(spec));
            handlers.agents.insert(name, Arc::new(spec));
        }
        if problems.is_empty() { Ok(handlers) } else { Err(problems) }
    }

    /// Events of other types than those of the handlers are passed over without a word.
    #[must_use]
    pub(crate) fn passing_others(self) -> Self {
        Self { passes_others: true, ..self }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.agents.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// The deliveries of an event of this type.
    pub(super) fn deliveries(&self, event_type: &EventType) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
        let handled = self.rules.get(event_type);
        handled
            .into_iter()
            .flat_map(|handled| handled.agents.iter().map(|agent| (Arc::clone(&handled.rule), Arc::clone(agent))))
    }

    /// The rule of this name, if it has this handler.
    pub(super) fn rule(&self, rule: &str, agent: &str) -> Option<Arc<str>> {
        let handled = self.rules.get(&EventType::read(rule)).filter(|handled| *handled.rule == *rule)?;
        handled.agents.iter().any(|name| **name == *agent).then(|| Arc::clone(&handled.rule))
    }
}

fn name_problem(name: &str) -> Option<String> {
    let expected = expected();
    if name.trim().is_empty() {
        return Some(format!("the name of a handler is empty: {expected}"));
    }
    let length = name.len();
    (!is_redrivable(name)).then(|| format!("handler `{}`: {expected}, found {length} bytes", shown(name)))
}

fn type_problem(name: &str, event_type: &str) -> Option<String> {
    let is_right = is_redrivable(event_type) && !event_type.trim().is_empty();
    (!is_right).then(|| {
        let (name, event_type, length) = (shown(name), shown(event_type), event_type.len());
        format!("handler `{name}`: event type `{event_type}`: {}, found {length} bytes", expected())
    })
}

fn expected() -> String {
    format!("expected 1 to {MAX_NAME_BYTES} bytes without control characters")
}

/// Whether a redrive can name it in a header.
fn is_redrivable(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control)
}

fn shown(name: &str) -> String {
    name.chars().take(40).flat_map(char::escape_debug).collect()
}
