//! Reads test files: all of them, then all mistakes are reported.

use std::{
    collections::{HashMap, hash_map},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Case, Expected, event};
use crate::{
    files,
    routing::{
        Problem, Routing,
        fields::Fields,
        folder::{self, File},
        problem::{Report, sorted},
        snapshot::MAX_BYTES,
    },
    yaml::{Data, Entry, Expansion, Node, Position, one_line, quoted, suggestion},
};

/// What test files hold.
#[derive(Debug, Default)]
pub(crate) struct CaseFiles {
    /// The tests, in the order of files and lines. Of a file with a mistake, those without one.
    pub(crate) cases: Vec<Case>,
    /// The mistakes, in the order of files and lines.
    pub(crate) problems: Vec<Problem>,
}

impl CaseFiles {
    /// Reads files. Names of rules and agents are looked up, if there is a routing.
    pub(crate) fn read(paths: &[PathBuf], routing: Option<&Routing>) -> Self {
        let mut left = MAX_BYTES;
        let (mut read, mut expansion) = (Self::default(), Expansion::default());
        for path in paths {
            let text = files::read_text_within(path, left).inspect(|text| left -= text.len() as u64);
            let file = folder::read(path.clone(), text, &mut expansion);
            read.take(file, routing, &mut left);
        }
        read.problems = sorted(std::mem::take(&mut read.problems));
        read
    }

    /// As [`read`](Self::read), for one file that is not written yet.
    pub(super) fn of_text(path: &Path, text: &str) -> Self {
        let mut read = Self::default();
        read.take(folder::parse(Report::new(path.to_owned()), text, &mut Expansion::default()), None, &mut 0);
        read
    }

    fn take(&mut self, file: File, routing: Option<&Routing>, left: &mut u64) {
        let File { mut report, root } = file;
        if let Some(root) = root {
            let mut reader = Reader { routing, left, report: &mut report, names: HashMap::new() };
            reader.file(&root, &mut self.cases);
        } else if report.problems.is_empty() {
            report.error(None, "expected `tests:`, found an empty file: fill it in or take it away");
        }
        self.problems.append(&mut report.problems);
    }
}

/// Reads one file.
struct Reader<'a> {
    routing: Option<&'a Routing>,
    /// How many bytes files may still have.
    left: &'a mut u64,
    report: &'a mut Report,
    /// The names of its tests.
    names: HashMap<String, Option<Position>>,
}

impl Reader<'_> {
    fn file(&mut self, root: &Node, cases: &mut Vec<Case>) {
        let Some(mut fields) = Fields::open(root, "test file", self.report) else { return };
        let advice =
            "write `tests:` with a list of tests; rules belong into a file whose name does not end with .test.yaml";
        let tests = fields.require("tests", advice, self.report);
        fields.finish(self.report);
        let Some(tests) = tests else { return };
        let Data::List(items) = &tests.value.data else {
            let found = tests.value.found_type();
            let message = format!("tests: expected a list of tests, found {found}: begin with `- name: ...`");
            self.report.error(tests.value.at, message);
            return;
        };
        cases.extend(items.iter().filter_map(|item| self.case(item)));
    }

    fn case(&mut self, node: &Node) -> Option<Case> {
        let before = self.report.problems.len();
        let mut fields = Fields::open(node, "test", self.report)?;
        let name = fields.require("name", "say what the event is and where it goes", self.report);
        let name = name.and_then(|entry| self.name(entry));
        let label = one_line(name.as_deref().unwrap_or("?"));
        let what = format!("test `{label}`");
        fields.what.clone_from(&what);
        let record = event::record(&what, &mut fields, self.left, self.report);
        let advice = "name the rules that match, as in `expect: [my-rule]`, or `expect: []` for none";
        let expect = fields.require("expect", advice, self.report);
        fields.finish(self.report);
        let expected = expect.map(|entry| self.expect(&what, &entry.value)).unwrap_or_default();
        if self.report.problems.len() > before {
            return None;
        }
        Some(Case { name: name?, file: Arc::clone(self.report.file()), at: node.at, record: record?, expected })
    }

    fn name(&mut self, entry: &Entry) -> Option<String> {
        let Some(name) = entry.value.text().filter(|text| !text.trim().is_empty()) else {
            let found = entry.value.found();
            self.report.error(entry.value.at, format!("test name: expected a text, found {found}"));
            return None;
        };
        match self.names.entry(name.to_owned()) {
            hash_map::Entry::Vacant(entry_of_name) => {
                entry_of_name.insert(entry.value.at);
            }
            hash_map::Entry::Occupied(first) => {
                let line = first.get().map(|at| format!(", first in line {}", at.line)).unwrap_or_default();
                let message = format!("the test {} stands here for the second time{line}: rename it", quoted(name));
                self.report.error(entry.value.at, message);
            }
        }
        Some(name.to_owned())
    }

    fn expect(&mut self, what: &str, node: &Node) -> Vec<Expected> {
        let Data::List(items) = &node.data else {
            let found = node.found();
            let message = format!("{what}, expect: expected a list of rules, found {found}");
            self.report.error(node.at, format!("{message}: write `[my-rule]`, or `[]` for none"));
            return Vec::new();
        };
        let mut expected: Vec<Expected> = Vec::with_capacity(items.len());
        for item in items {
            let Some(rule) = self.rule(what, item) else { continue };
            if expected.iter().any(|other| other.rule == rule.rule) {
                let message =
                    format!("{what}, expect: the rule `{}` stands here twice: keep one", one_line(&rule.rule));
                self.report.error(item.at, message);
                continue;
            }
            expected.push(rule);
        }
        expected
    }

    /// A rule by its name alone, or a map.
    fn rule(&mut self, what: &str, node: &Node) -> Option<Expected> {
        if let Some(name) = node.text() {
            self.check_rule(what, name, node.at);
            return Some(Expected { rule: name.to_owned(), to: None, input: None, body: None });
        }
        let what = format!("{what}, expect");
        let mut fields = Fields::open(node, &*what, self.report)?;
        let rule = fields.require("rule", "name the rule that matches", self.report);
        let rule = rule.and_then(|entry| self.text(&what, entry));
        if let Some((name, at)) = &rule {
            self.check_rule(&what, name, *at);
        }
        let to = fields.take("to").map(|entry| self.agents(&what, &entry.value));
        let input = fields.take("input").map(|entry| entry.value.to_json());
        let body = fields.take("body").map(|entry| entry.value.to_json());
        fields.finish(self.report);
        Some(Expected { rule: rule?.0, to, input, body })
    }

    fn text(&mut self, what: &str, entry: &Entry) -> Option<(String, Option<Position>)> {
        let text = entry.value.text().map(|text| (text.to_owned(), entry.value.at));
        if text.is_none() {
            let found = entry.value.found();
            self.report.error(entry.value.at, format!("{what}, {}: expected a name, found {found}", entry.key));
        }
        text
    }

    fn check_rule(&mut self, what: &str, name: &str, at: Option<Position>) {
        let Some(routing) = self.routing.filter(|routing| routing.rule(name).is_none()) else { return };
        let close = suggestion(name, routing.rules().map(|rule| rule.name().as_ref()));
        let advice = if close.is_empty() { ": name one of the folder" } else { "" };
        self.report.error(at, format!("{what}: there is no rule {}{close}{advice}", quoted(name)));
    }

    fn agents(&mut self, what: &str, node: &Node) -> Vec<String> {
        let what = format!("{what}, to");
        let Some(items) = (match &node.data {
            Data::List(items) if !items.is_empty() => Some(items),
            _ => None,
        }) else {
            let message = format!("{what}: expected a list of agents, found {}: as in `to: [analyst]`", node.found());
            self.report.error(node.at, message);
            return Vec::new();
        };
        let mut names: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            let Some(name) = item.text() else {
                self.report.error(item.at, format!("{what}: expected the name of an agent, found {}", item.found()));
                continue;
            };
            if names.iter().any(|other| other == name) {
                self.report.error(item.at, format!("{what}: the agent {} stands here twice: keep one", quoted(name)));
                continue;
            }
            if let Some(routing) = self.routing.filter(|routing| routing.agent(name).is_none()) {
                let close = suggestion(name, routing.agents().map(|agent| agent.name.as_ref()));
                let advice = if close.is_empty() { ": name one of the folder" } else { "" };
                self.report.error(item.at, format!("{what}: there is no agent {}{close}{advice}", quoted(name)));
            }
            names.push(name.to_owned());
        }
        names
    }
}
