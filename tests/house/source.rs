//! The source files, read as rustfmt prints them: an item closes at its own indentation.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A file under src/ that does not hold tests alone.
pub struct Source {
    /// Relative to src/.
    pub name: String,
    /// `a::b` for `src/a/b.rs` and `src/a/b/mod.rs`.
    pub module: Vec<String>,
    /// The whole file.
    pub text: String,
    /// Its lines, without test modules.
    pub lines: Vec<String>,
}

impl Source {
    /// The room that the file belongs to.
    pub fn room(&self) -> &str {
        &self.module[0]
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Every source file but those that hold tests alone: `tests.rs`, `tests/`, and modules under `#[cfg(test)]`.
pub fn sources() -> Vec<Source> {
    let source = root().join("src");
    let mut paths = Vec::new();
    list(&source, &mut paths);
    paths.sort();
    let all: Vec<Source> = paths
        .iter()
        .map(|path| {
            let inside = path.strip_prefix(&source).unwrap();
            let mut module: Vec<String> =
                inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module.len() > 1 && module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let text = read(path);
            Source { name: inside.display().to_string(), module, lines: without_tests(&text), text }
        })
        .collect();
    let for_tests: BTreeSet<Vec<String>> = all.iter().flat_map(test_modules).collect();
    all.into_iter()
        .filter(|source| {
            !source.module.iter().any(|part| part == "tests")
                && !(1..=source.module.len()).any(|end| for_tests.contains(&source.module[..end]))
        })
        .collect()
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn without_visibility(line: &str) -> &str {
    let line = line.trim_start();
    match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or(rest, |(_, rest)| rest).trim_start(),
        Some(rest) if rest.starts_with(' ') => rest.trim_start(),
        _ => line,
    }
}

fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let lines: Vec<&str> = source.text.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]");
    let names = pairs.filter_map(|pair| without_visibility(pair[1]).strip_prefix("mod ")?.strip_suffix(';'));
    let parent = if source.name == "lib.rs" { &[][..] } else { &source.module[..] };
    names.map(|name| [parent, &[name.to_owned()]].concat()).collect()
}

fn without_tests(text: &str) -> Vec<String> {
    let mut kept = Vec::new();
    let (mut until, mut is_test) = (None::<String>, false);
    for line in text.lines() {
        if let Some(end) = &until {
            if line == end {
                until = None;
            }
        } else if is_test && without_visibility(line).starts_with("mod ") && line.ends_with('{') {
            let indentation = line.len() - line.trim_start().len();
            until = Some(" ".repeat(indentation) + "}");
            is_test = false;
        } else {
            is_test = line.trim() == "#[cfg(test)]";
            kept.push(line.to_owned());
        }
    }
    kept
}

/// The functions of a file, with their length in lines, signature and body.
pub fn functions(lines: &[String]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let mut rest = without_visibility(line);
        for word in ["default ", "const ", "async ", "unsafe ", "extern \"C\" "] {
            rest = rest.strip_prefix(word).unwrap_or(rest);
        }
        let Some(rest) = rest.strip_prefix("fn ") else { continue };
        if line.ends_with([';', '}']) {
            continue;
        }
        let name = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let indentation = &line[..line.len() - line.trim_start().len()];
        let end = lines[at..].iter().position(|line| {
            line.strip_prefix(indentation)
                .is_some_and(|line| line == "}" || line.starts_with(')') && line.ends_with(';'))
        });
        let Some(end) = end else { continue };
        if lines[at + end].ends_with('}') {
            found.push((name, end + 1));
        }
    }
    found
}
