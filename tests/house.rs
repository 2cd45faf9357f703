//! The rooms of src/ as ARCHITECTURE.md draws them, and the limits that keep them small.
//!
//! Each list of exceptions below must be current: an entry that is no longer needed fails its test too, so the lists only shrink.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where and ends")]

#[path = "house/circles.rs"]
mod circles;
#[path = "house/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use source::{Source, functions, read, root, sources};

/// Rooms that every room may use.
const FOR_EVERY_ROOM: [&str; 2] = ["sync", "throttle"];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

/// Files that use another file of their room in a circle: to be taken apart.
const IN_CIRCLES: &[&str] = &[];

/// Files over the limit: to be split by subject.
const LONG_FILES: &[&str] = &[];

/// Functions over the limit: to be split, or a table that reads best in one piece.
const LONG_FUNCTIONS: &[&str] = &["publish/lifecycle.rs: step"];

/// Crates that can be replaced in one place: who may use each.
const CRATES: &[(&str, &[&str])] = &[
    ("sled", &["dedup/store.rs"]),
    ("backoff", &["pipeline/retry.rs"]),
    ("rdkafka", &["connection/", "kafka/", "publish/"]),
    ("openssl", &["connection/", "agents/tls/tests.rs"]),
    ("clap_complete", &["cli/completions.rs"]),
    ("clap_mangen", &["cli/man.rs"]),
    ("hyper", &["agents/"]),
    ("hyper_util", &["agents/"]),
    ("hyper_tls", &["agents/"]),
    // Elsewhere for its `Url`, and for one request of the command line.
    ("reqwest", &["agents/", "routing/agent/", "cli/ask.rs"]),
    ("axum", &["admin/", "demo/"]),
    ("minijinja", &["routing/"]),
    ("saphyr_parser", &["yaml/"]),
];

/// The rooms and whom each may use, from the table in ARCHITECTURE.md.
fn drawn() -> BTreeMap<String, BTreeSet<String>> {
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    read("ARCHITECTURE.md")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            (names(cells[1])[0].clone(), names(cells[3]).into_iter().collect())
        })
        .collect()
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

/// `found` must be the list of exceptions, no more and no less.
#[track_caller]
fn assert_exceptions(what: &str, found: &[String], list: &str, expected: &[&str]) {
    let new: Vec<_> = found.iter().filter(|found| !expected.contains(&found.as_str())).collect();
    assert!(new.is_empty(), "{what}:\n{new:#?}");
    let stale: Vec<_> = expected.iter().filter(|expected| !found.iter().any(|found| found == *expected)).collect();
    assert!(stale.is_empty(), "no longer needed in {list} of tests/house.rs: delete these entries\n{stale:#?}");
}

#[test]
fn data_flows_as_the_architecture_draws_it() {
    let drawn = drawn();
    assert!(drawn.len() > 10, "the table of rooms was not found: {drawn:?}");
    let mut wrong = Vec::new();
    let mut arrows = 0;
    for source in sources() {
        let room = source.room();
        if matches!(room, "lib" | "main" | "testing") {
            continue;
        }
        let Some(allowed) = drawn.get(room) else {
            wrong.push(format!("{}: room `{room}` is not in the table", source.name));
            continue;
        };
        for other in mentioned(&source.text) {
            arrows += 1;
            if other != room && !FOR_EVERY_ROOM.contains(&other.as_str()) && !allowed.contains(&other) {
                wrong.push(format!("{}: `{room}` uses `{other}`", source.name));
            }
        }
    }
    assert!(arrows > 20, "only {arrows} arrows were found: the reader of `use` lines is broken");
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not draw:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_fork_guard_is_unsafe() {
    let unsafe_ones: Vec<String> =
        sources().into_iter().filter(|source| source.text.contains("unsafe_code")).map(|source| source.name).collect();
    assert_eq!(unsafe_ones, ["publish/fork.rs"]);
}

#[test]
fn what_can_be_replaced_is_used_in_one_place() {
    let sources = sources();
    for (name, allowed) in CRATES {
        let users: Vec<&Source> = sources
            .iter()
            .filter(|source| source.lines.iter().any(|line| uses_crate(line.split("//").next().unwrap(), name)))
            .collect();
        assert!(!users.is_empty(), "no file uses {name}: take it out of the list");
        let wrong: Vec<&str> = users
            .iter()
            .map(|source| source.name.as_str())
            .filter(|file| !allowed.iter().any(|place| file.starts_with(place)))
            .collect();
        assert!(wrong.is_empty(), "{name} is for {allowed:?} alone, found in {wrong:?}");
    }
}

/// Whether the line names a path of the crate: `name::`, or `use name;`.
fn uses_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') && after.starts_with("::")
    })
}

#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let sources = sources();
    let circles = circles::circles(&sources);
    println!("circles: {circles:#?}");
    let mut found: Vec<String> = circles.into_iter().flatten().map(str::to_owned).collect();
    found.sort();
    let what = "files that use another one in a circle: move what both need to a file of its own";
    assert_exceptions(what, &found, "IN_CIRCLES", IN_CIRCLES);
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let long = sources().into_iter().filter(|source| source.text.lines().count() > MAX_FILE_LINES);
    let found: Vec<String> = long.map(|source| source.name).collect();
    assert_exceptions("files over 400 lines: split them by subject", &found, "LONG_FILES", LONG_FILES);
}

#[test]
fn no_function_is_longer_than_60_lines() {
    let mut seen = 0;
    let mut found = Vec::new();
    for source in sources() {
        for (function, lines) in functions(&source.lines) {
            seen += 1;
            if lines > MAX_FUNCTION_LINES {
                found.push(format!("{}: {function}", source.name));
            }
        }
    }
    assert!(seen > 1_000, "only {seen} functions were found: the reader of functions is broken");
    assert_exceptions("functions over 60 lines: split them", &found, "LONG_FUNCTIONS", LONG_FUNCTIONS);
}

/// `make test-kafka` must need no LangGraph: a module of tests/it that uses one is in the Makefile's list, and no other.
#[test]
fn the_makefile_knows_which_tests_need_langgraph() {
    let makefile = read("Makefile");
    let list = makefile.lines().find_map(|line| line.strip_prefix("LANGGRAPH_MODULES := ")).unwrap();
    let mut listed: Vec<String> = list.split(' ').map(str::to_owned).collect();
    listed.sort();
    let mut found = Vec::new();
    let main = read("tests/it/main.rs");
    let lines: Vec<&str> = main.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let module = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
        let Some(module) = module.filter(|name| *name != "kit") else { continue };
        let elsewhere =
            index.checked_sub(1).and_then(|before| lines[before].strip_prefix("#[path = \"")?.split_once('"'));
        let file = root().join("tests/it").join(elsewhere.map_or(format!("{module}.rs"), |(path, _)| path.to_owned()));
        // What stands beside `mod.rs`, or in the folder of the module's name.
        let folder = if file.ends_with("mod.rs") { file.with_file_name("") } else { file.with_extension("") };
        let mut text = fs::read_to_string(&file).unwrap_or_default();
        for beside in fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if beside.is_file() {
                text += &fs::read_to_string(beside).unwrap();
            }
        }
        if ["LangGraph::shared", " LangGraph::start", "langgraph-venv", "examples/langgraph-app\""]
            .iter()
            .any(|word| text.contains(word))
        {
            found.push(module.to_owned());
        }
    }
    found.sort();
    assert_eq!(listed, found, "LANGGRAPH_MODULES in the Makefile, and the modules of tests/it that use LangGraph");
}
