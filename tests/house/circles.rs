//! Which file of a room uses which.
//!
//! A file uses the file that defines what it names. What a module declares (`mod`) or passes on (`pub use`) is no use by that
//! module, so `mod.rs` may re-export its children. A private `use`, or a path in its code, is one: then its children may not use
//! what `mod.rs` defines itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

type Module = [String];
type Names = BTreeMap<String, String>;

/// The sets of files that use each other, each within one room.
pub fn circles(sources: &[Source]) -> BTreeSet<Vec<&str>> {
    let modules: BTreeSet<&Module> = sources.iter().map(|source| &source.module[..]).collect();
    let code: BTreeMap<&Module, Code> =
        sources.iter().map(|source| (&source.module[..], Code::read(&source.lines))).collect();
    let mut arrows: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for source in sources {
        let from = &source.module[..];
        for path in &code[from].uses {
            let to = resolve(path, from, &modules, &code, 0).and_then(|to| modules.get(&to[..]).copied());
            if let Some(to) = to.filter(|to| to.first() == from.first() && *to != from) {
                arrows.entry(from).or_default().insert(to);
            }
        }
    }
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        arrows.keys().map(|from| (*from, reach(from, &arrows))).collect();
    let names: BTreeMap<&Module, &str> =
        sources.iter().map(|source| (&source.module[..], source.name.as_str())).collect();
    let ring = |from: &Module, seen: &BTreeSet<&Module>| -> Vec<&str> {
        let back = |other: &Module| reached.get(other).is_some_and(|back| back.contains(from));
        seen.iter().filter(|other| back(other)).map(|other| names[other]).collect()
    };
    reached.iter().map(|(from, seen)| ring(from, seen)).filter(|ring| !ring.is_empty()).collect()
}

fn reach<'a>(from: &'a Module, arrows: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> BTreeSet<&'a Module> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in arrows.get(module).into_iter().flatten() {
            if seen.insert(*next) {
                open.push(next);
            }
        }
    }
    seen
}

struct Code {
    /// The paths that it names, but for what it passes on.
    uses: BTreeSet<String>,
    /// The names that its `use` lines bring in, private ones too, and the path of each.
    names: Names,
}

impl Code {
    fn read(lines: &[String]) -> Self {
        let text: String =
            lines.iter().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
        let (mut uses, mut names) = (BTreeSet::new(), Names::new());
        let mut rest = String::new();
        let mut statement = None::<(bool, String)>;
        for line in text.lines() {
            let (line, start) = (visibility_removed(line), line.trim_start());
            let public = start.starts_with("pub") && (start.starts_with("pub use ") || start.contains(") use "));
            if statement.is_none() && (start.starts_with("use ") || public) {
                let (_, tree) = start.split_once("use ").unwrap_or_default();
                statement = Some((public, tree.to_owned()));
            } else if let Some((_, tree)) = &mut statement {
                tree.push(' ');
                tree.push_str(start);
            } else {
                rest.push_str(&line);
                rest.push('\n');
            }
            if let Some((public, tree)) = statement.take_if(|(_, tree)| tree.trim_end().ends_with(';')) {
                for path in leaves(tree.trim().trim_end_matches(';')) {
                    names.insert(path.rsplit("::").next().unwrap_or_default().to_owned(), path.clone());
                    if !public {
                        uses.insert(path);
                    }
                }
            }
        }
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        uses.extend(
            rest.split(|c| !is_path(c))
                .filter(|word| word.contains("::"))
                .map(|word| word.trim_end_matches(':').to_owned()),
        );
        Self { uses, names }
    }
}

/// The line without the path of `pub(in path)`: that says who may use it, not what it uses.
fn visibility_removed(line: &str) -> String {
    match line.split_once("pub(in ") {
        Some((before, rest)) => before.to_owned() + rest.split_once(')').map_or(rest, |(_, after)| after),
        None => line.to_owned(),
    }
}

/// The paths of a `use` tree: `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
        .iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| leaves(part))
        .map(|path| head.to_owned() + &path)
        .collect()
}

/// The module that defines what a path means, seen from the module `at`.
fn resolve(
    path: &str,
    at: &Module,
    modules: &BTreeSet<&Module>,
    code: &BTreeMap<&Module, Code>,
    depth: usize,
) -> Option<Vec<String>> {
    let mut parts = path.split("::").map(str::to_owned).peekable();
    let mut here = at.to_vec();
    let child = |here: &[String], part: &String| modules.contains(&[here, std::slice::from_ref(part)].concat()[..]);
    let first = parts.peek()?.clone();
    match first.as_str() {
        "crate" => {
            parts.next();
            here.clear();
        }
        "super" | "self" => {
            while let Some(part) = parts.next_if(|part| part == "super" || part == "self") {
                if part == "super" {
                    here.pop();
                }
            }
        }
        _ if child(&here, &first) => {}
        _ => return None,
    }
    while let Some(part) = parts.next_if(|part| child(&here, part)) {
        here.push(part);
    }
    let onward = parts.peek().filter(|_| depth < 8).and_then(|name| code.get(&here[..])?.names.get(name));
    onward.and_then(|path| resolve(path, &here, modules, code, depth + 1)).or(Some(here))
}
