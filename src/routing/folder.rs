//! Loads a folder of files into agents and rules. All files are read, then all mistakes are reported; of a folder with too many
//! rules or agents, those of its rules are not looked for.

use std::{
    collections::{BTreeMap, HashSet, btree_map},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    agent::{self, Context, Declared},
    event_types::EventTypes,
    fields::Fields,
    inventory::Inventory,
    loaded::{LoadOptions, Routing},
    problem::{Problem, Problems, Report, sorted},
    router::Router,
    rule::{self, Draft},
    snapshot::{MAX_BYTES, Snapshot},
    template::Compiler,
};
use crate::{
    files::NotUtf8,
    yaml::{self, Data, Expansion, Node, Position},
};

/// The most agents of a folder: each has a connection pool.
const MAX_AGENTS: usize = 1_000;

/// The most rules of a folder.
const MAX_RULES: usize = 100_000;

const ADVICE: &str = "put a file such as rules.yaml into it, with `agents:` and `rules:`";

/// A file that was read as YAML.
pub(super) struct File {
    pub(super) report: Report,
    pub(super) root: Option<Node>,
}

impl Routing {
    /// Loads a folder.
    ///
    /// # Errors
    /// Every mistake of every file at once.
    #[cfg(test)]
    pub(crate) fn load(folder: &Path, options: &LoadOptions) -> Result<Self, Problems> {
        Self::compile(Snapshot::read(folder), options)
    }

    /// Makes rules of what was read.
    ///
    /// # Errors
    /// Every mistake of every file at once.
    pub(crate) fn compile(snapshot: Snapshot, options: &LoadOptions) -> Result<Self, Problems> {
        let folder = &*snapshot.folder;
        let inventory = snapshot.inventory.map_err(|error| {
            let message = match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("expected a readable routing folder, found none there: create it, and {ADVICE}")
                }
                io::ErrorKind::NotADirectory => {
                    "expected a routing folder, found a file: name the folder that it is in; every *.yaml and *.yml of a \
                     folder is read"
                        .to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    format!("expected a readable routing folder, found {error}: let this user read it")
                }
                _ => format!("expected a readable routing folder, found {error}"),
            };
            Problems::folder(folder, message)
        })?;
        if inventory.files.is_empty() {
            let message = format!("expected routing files (*.yaml, *.yml), found none: {ADVICE}");
            return Err(Problems::folder(folder, message).of(inventory));
        }
        let mut expansion = Expansion::default();
        let read = |(path, text)| read(path, text, &mut expansion);
        let files = snapshot.files.into_iter().map(read).collect();
        Self::assemble(folder, files, inventory, options)
    }

    /// As [`compile`](Self::compile), for a folder whose one file has this text.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn from_text(text: &str, options: &LoadOptions) -> Result<Self, Problems> {
        let file = parse(Report::new("routing/rules.yaml".into()), text, &mut Expansion::default());
        Self::assemble(Path::new("routing"), vec![file], Inventory::default(), options)
    }

    fn assemble(
        folder: &Path,
        mut files: Vec<File>,
        mut inventory: Inventory,
        options: &LoadOptions,
    ) -> Result<Self, Problems> {
        let mut sections: Vec<_> = files.iter_mut().map(sections).collect();

        let mut templates = Compiler::new();
        let mut agents = BTreeMap::new();
        for (file, Sections { agents: section, .. }) in files.iter_mut().zip(&sections) {
            let Some(section) = section else { continue };
            let mut context = Context {
                env: &*options.env,
                dedup_window: options.dedup_window,
                report: &mut file.report,
                templates: &mut templates,
            };
            let declared = agent::read(section, &mut context);
            unique("agent", declared, |agent| (Arc::clone(&agent.name), agent.at), &mut agents, &mut file.report);
        }
        let listed = sections.iter().map(Sections::rules_listed).sum();
        let too_many = too_many(folder, agents.len(), listed);
        if !too_many.is_empty() {
            (inventory.rules, inventory.agents) = (listed, agents.len());
            let (mut problems, warnings) = reported(files);
            problems.extend(too_many);
            return Err(Problems::new(problems, warnings).of(inventory));
        }
        let kinds = agents.iter().map(|(name, (agent, ..))| (Arc::clone(name), agent.kind)).collect();

        let mut event_types = EventTypes::default();
        for (file, Sections { event_types: section, .. }) in files.iter_mut().zip(&sections) {
            let Some(section) = section else { continue };
            event_types.read(section, &mut file.report);
        }
        let names = rule::Names { agents: &kinds, event_types: &event_types };
        let mut rules = BTreeMap::new();
        for (file, Sections { rules: section, .. }) in files.iter_mut().zip(&mut sections) {
            let Some(section) = section.take() else { continue };
            let drafts = rule::read(section, &names, &mut templates, &mut file.report);
            unique("rule", drafts, |rule| (Arc::clone(&rule.name), rule.at), &mut rules, &mut file.report);
        }
        (inventory.rules, inventory.agents) = (rules.len(), agents.len());
        let finished = finish(folder, files, agents, rules, templates);
        match finished {
            Ok(routing) => Ok(Self { event_types, inventory, ..routing }),
            Err(problems) => Err(problems.of(inventory)),
        }
    }
}

/// What is declared, and its position: for the message if it is declared again.
type Named<T> = BTreeMap<Arc<str>, (T, Arc<Path>, Option<Position>)>;

fn finish(
    folder: &Path,
    files: Vec<File>,
    agents: Named<Declared>,
    rules: Named<Draft>,
    templates: Compiler,
) -> Result<Routing, Problems> {
    let (problems, mut warnings) = reported(files);
    if problems.is_empty() && rules.is_empty() {
        let message = "expected at least one rule, found none: add `rules:` to a file of the folder, else every event is unmatched";
        return Err(Problems::folder(folder, message.into()));
    }
    let used: HashSet<&str> = rules.values().flat_map(|(rule, ..)| &rule.uses).map(AsRef::as_ref).collect();
    for (name, (_, file, position)) in &agents {
        if !used.contains(name.as_ref()) {
            warnings.push(Problem {
                file: Arc::clone(file),
                position: *position,
                message: format!("no rule sends to the agent `{name}`: name it in a rule's `to`, or take it out"),
            });
        }
    }
    warnings.extend(repeated(&rules));
    if !problems.is_empty() {
        return Err(Problems::new(problems, warnings));
    }
    let engine = Arc::new(templates.finish());
    let rules = rules.into_values().filter_map(|(draft, ..)| draft.finish(&engine)).map(Arc::new).collect();
    let mut specs = BTreeMap::new();
    let mut templates = BTreeMap::new();
    for (agent, ..) in agents.into_values() {
        templates.extend(agent.templates.finish(&engine).map(|templates| (Arc::clone(&agent.name), templates)));
        specs.extend(agent.spec.map(|spec| (agent.name, Arc::new(spec))));
    }
    let (router, inventory) = (Router::new(rules), Inventory::default());
    let (warnings, event_types) = (sorted(warnings), EventTypes::default());
    Ok(Routing { agents: specs, templates, router, warnings, event_types, inventory })
}

/// What was reported of the files: the problems, and the warnings.
fn reported(files: Vec<File>) -> (Vec<Problem>, Vec<Problem>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for file in files {
        problems.extend(file.report.problems);
        warnings.extend(file.report.warnings);
    }
    (problems, warnings)
}

/// Problems of a folder that has more than it may.
fn too_many(folder: &Path, agents: usize, rules: usize) -> Vec<Problem> {
    let limits = [("agents", agents, MAX_AGENTS), ("rules", rules, MAX_RULES)];
    let exceeded = limits.into_iter().filter(|(_, found, limit)| found > limit);
    let problem = |(what, found, limit)| {
        let message = format!("expected at most {limit} {what}, found {found}: run several bridges, each with a part");
        Problem { file: folder.into(), position: None, message }
    };
    exceeded.map(problem).collect()
}

/// Rules that send the same events to the same agent as another one.
fn repeated(rules: &Named<Draft>) -> Vec<Problem> {
    let mut first: BTreeMap<(&str, &str), (&str, &Path, Option<Position>)> = BTreeMap::new();
    let mut found = Vec::new();
    for (name, (rule, file, position)) in rules {
        let Some(sends) = &rule.sends else { continue };
        for agent in &rule.uses {
            match first.entry((sends, agent)) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert((name, file, *position));
                }
                btree_map::Entry::Occupied(entry) => {
                    let (other, other_file, at) = entry.get();
                    let place =
                        format!("{}{}", other_file.display(), at.map(|at| format!(":{at}")).unwrap_or_default());
                    found.push(Problem {
                        file: Arc::clone(file),
                        position: *position,
                        message: format!(
                            "rule `{name}` has the pattern of rule `{other}` ({place}), and both send to `{agent}`: it gets each of \
                             these events twice: take one of them out"
                        ),
                    });
                }
            }
        }
    }
    found
}

/// Adds the declarations of a file; a name that exists already is a mistake.
fn unique<T>(
    what: &str,
    declared: Vec<T>,
    key: impl Fn(&T) -> (Arc<str>, Option<Position>),
    all: &mut Named<T>,
    report: &mut Report,
) {
    for item in declared {
        let (name, at) = key(&item);
        match all.entry(name) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert((item, Arc::clone(report.file()), at));
            }
            btree_map::Entry::Occupied(entry) => {
                let (_, file, first) = entry.get();
                let line = first.map(|position| format!(":{position}")).unwrap_or_default();
                let place = format!("{}{line}", file.display());
                let message =
                    format!("names are unique over the folder, and the {what} `{}` is also in {place}", entry.key());
                report.error(at, format!("{message}: rename one of them"));
            }
        }
    }
}

/// The file of this text, or of the error that reading it had.
pub(super) fn read(path: PathBuf, text: io::Result<String>, expansion: &mut Expansion) -> File {
    let mut report = Report::new(path);
    let text = text.map_err(|error| {
        if error.kind() != io::ErrorKind::FileTooLarge {
            return error;
        }
        io::Error::new(error.kind(), format!("more than the {MAX_BYTES} bytes that all files together may have"))
    });
    match text {
        Ok(text) => parse(report, &text, expansion),
        Err(error) => {
            let place = error.get_ref().and_then(|error| error.downcast_ref::<NotUtf8>());
            let place = place.map(|place| Position { line: place.line, column: place.column });
            report.error(place, format!("the file cannot be read: {error}"));
            File { report, root: None }
        }
    }
}

pub(super) fn parse(mut report: Report, text: &str, expansion: &mut Expansion) -> File {
    let root = yaml::read_within(text.strip_prefix('\u{feff}').unwrap_or(text), expansion, &mut report);
    File { report, root }
}

/// What stands at the top of a file.
#[derive(Default)]
struct Sections {
    agents: Option<Node>,
    rules: Option<Node>,
    event_types: Option<Node>,
}

impl Sections {
    /// How many rules the file lists, right or wrong.
    fn rules_listed(&self) -> usize {
        match self.rules.as_ref().map(|rules| &rules.data) {
            Some(Data::List(items)) => items.len(),
            _ => 0,
        }
    }
}

fn sections(file: &mut File) -> Sections {
    let report = &mut file.report;
    let root = match file.root.take() {
        Some(root) => root,
        None if report.problems.is_empty() => {
            report.error(None, "expected `agents:` or `rules:`, found an empty file: fill it in or take it away");
            return Sections::default();
        }
        None => return Sections::default(),
    };
    let Some(mut fields) = Fields::open(&root, "file", report) else { return Sections::default() };
    for key in ["agents", "rules", "event_types"] {
        fields.take(key);
    }
    fields.finish(report);
    let mut sections = Sections::default();
    if let Data::Map(entries) = root.data {
        for entry in entries {
            match entry.key.as_str() {
                "agents" => sections.agents = Some(entry.value),
                "rules" => sections.rules = Some(entry.value),
                "event_types" => sections.event_types = Some(entry.value),
                // It was reported.
                _ => {}
            }
        }
    }
    sections
}
