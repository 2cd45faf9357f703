//! The rooms know each other only as ARCHITECTURE.md draws it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where and ends")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn drawn() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            (names(cells[1])[0].clone(), names(cells[3]).into_iter().collect())
        })
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What a test reaches for is no flow of data.
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms named after `crate::`, inside groups too.
fn mentioned(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item_begins = true;
        for (index, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => item_begins = true,
                c if c.is_whitespace() => {}
                _ if item_begins => {
                    rooms.insert(word(&group[index..]));
                    item_begins = false;
                }
                _ => {}
            }
        }
    }
    rooms.remove("");
    rooms
}

#[test]
fn data_flows_as_the_architecture_draws_it() {
    let drawn = drawn();
    assert!(drawn.len() > 10, "the table of rooms was not found: {drawn:?}");
    let source = root().join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    let mut wrong = Vec::new();
    let mut arrows = 0;
    for file in files {
        let inside = file.strip_prefix(&source).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let Some(allowed) = drawn.get(&room) else {
            wrong.push(format!("{}: room `{room}` is not in the table", inside.display()));
            continue;
        };
        for other in mentioned(&fs::read_to_string(&file).unwrap()) {
            arrows += 1;
            if other != room && !allowed.contains(&other) {
                wrong.push(format!("{}: `{room}` uses `{other}`", inside.display()));
            }
        }
    }
    assert!(arrows > 20, "only {arrows} arrows were found: the reader of `use` lines is broken");
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not draw:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_fork_guard_is_unsafe() {
    let source = root().join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    let unsafe_ones: Vec<_> = files
        .iter()
        .filter(|file| fs::read_to_string(file).unwrap().contains("unsafe_code"))
        .map(|file| file.strip_prefix(&source).unwrap().display().to_string())
        .collect();
    assert_eq!(unsafe_ones, ["publish/fork.rs"]);
}
