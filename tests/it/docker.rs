//! What can be checked of the images and the compose file where no container can run.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::kit::prepared;

const DOCKERFILES: [&str; 2] = ["Dockerfile", "examples/langgraph-app/Dockerfile"];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).canonicalize().expect("the repository is there")
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

/// What the Dockerfile copies from the repository.
fn copied(dockerfile: &str) -> Vec<String> {
    let text = read(dockerfile);
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|copy| !copy.contains("--from="));
    copies
        .flat_map(|copy| {
            let mut words: Vec<String> =
                copy.split_whitespace().filter(|word| !word.starts_with("--")).map(str::to_owned).collect();
            words.pop();
            words
        })
        .collect()
}

/// A YAML file, as JSON.
fn yaml(path: &str) -> Value {
    let python = prepared("langgraph-venv/bin/python");
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new(python).args(["-c", program, path]).current_dir(repository()).output();
    let output = output.expect("`make test-setup` has installed Python and its YAML reader");
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

fn services() -> serde_json::Map<String, Value> {
    yaml("docker-compose.yml")["services"].as_object().cloned().expect("there are services")
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The source files under a folder, but for those that hold tests alone.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be listed");
    entries
        .flat_map(|entry| {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() { sources(&path) } else { vec![path] }
        })
        .filter(|path| !is_for_tests(path))
        .collect()
}

/// Whether the module of this file is declared for tests only.
fn is_for_tests(path: &Path) -> bool {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else {
        return false;
    };
    [folder.join("mod.rs"), folder.with_extension("rs")]
        .iter()
        .filter_map(|parent| fs::read_to_string(parent).ok())
        .any(|parent| parent.contains(&format!("#[cfg(test)]\nmod {stem};")))
}

#[test]
fn everything_that_an_image_copies_is_there_and_not_ignored() {
    let ignore = read(".dockerignore");
    let wanted: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for dockerfile in DOCKERFILES {
        let copied = copied(dockerfile);
        assert!(!copied.is_empty(), "{dockerfile} copies nothing: is it read rightly?");
        for path in copied {
            assert!(repository().join(&path).exists(), "{dockerfile} copies {path}, which does not exist");
            assert!(
                wanted.iter().any(|wanted| Path::new(&path).starts_with(wanted)),
                "{dockerfile} copies {path}, which .dockerignore leaves out"
            );
        }
    }
    for path in wanted {
        assert!(repository().join(path).exists(), ".dockerignore wants {path}, which does not exist");
    }
}

#[test]
fn the_image_has_every_file_that_the_build_reads() {
    let copied: Vec<PathBuf> = copied("Dockerfile").iter().map(|path| repository().join(path)).collect();
    let is_copied = |path: &Path| copied.iter().any(|copied| path.starts_with(copied));
    for path in ["Cargo.toml", "Cargo.lock", "src/lib.rs", "src/main.rs", "python/Cargo.toml", "python/src/lib.rs"] {
        assert!(is_copied(&repository().join(path)), "the Dockerfile does not copy {path}");
    }
    let script = repository().join("build.rs");
    assert!(!script.exists() || is_copied(&script), "the Dockerfile does not copy build.rs");
    let is_code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    for source in sources(&repository().join("src")).into_iter().filter(is_code) {
        let folder = source.parent().expect("a file has a folder");
        for file in includes(&fs::read_to_string(&source).expect("source is UTF-8")) {
            let wanted = folder.join(&file).canonicalize();
            let wanted = wanted.unwrap_or_else(|error| panic!("{} includes {file}: {error}", source.display()));
            assert!(is_copied(&wanted), "{} includes {file}, which the Dockerfile does not copy", source.display());
        }
    }
}

/// The paths in `include_str!` and `include_bytes!` of code that is not for tests alone.
fn includes(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    ["include_str!(\"", "include_bytes!(\""]
        .iter()
        .flat_map(|call| source.split(call).skip(1))
        .filter_map(|rest| rest.split('"').next().map(str::to_owned))
        .collect()
}

#[test]
fn everything_that_compose_builds_or_mounts_is_there() {
    let compose = yaml("docker-compose.yml");
    let named = compose["volumes"].as_object().expect("there are volumes");
    for (name, service) in services() {
        match &service["build"] {
            Value::Null => assert!(service["image"].is_string(), "{name} has an image or a build"),
            Value::String(context) => assert!(repository().join(context).join("Dockerfile").is_file()),
            build => {
                let file = build["dockerfile"].as_str().expect("a build names its Dockerfile");
                assert_eq!(build["context"], ".", "{name}");
                assert!(DOCKERFILES.contains(&file), "{name} builds {file}, which no test reads");
            }
        }
        for volume in strings(&service["volumes"]) {
            let (source, _) = volume.split_once(':').expect("a volume has a source");
            if source.starts_with('.') {
                assert!(repository().join(source).exists(), "{name} mounts {source}, which does not exist");
                assert!(volume.ends_with(":ro"), "{name} can write to {source}");
            } else {
                assert!(named.contains_key(source), "{name} uses the volume {source}, which is not declared");
            }
        }
        if let Some(others) = service["depends_on"].as_object() {
            for (other, how) in others {
                let other = services().remove(other).unwrap_or_else(|| panic!("{name} waits for {other}"));
                let healthy = how["condition"] == "service_healthy";
                let probed = other["healthcheck"].is_object() || other["build"].is_object();
                assert!(!healthy || probed, "{name} waits for the health of a service that has no health check");
            }
        }
        assert!(service["restart"].is_string(), "{name} has no restart policy");
    }
}

#[test]
fn every_port_is_published_on_loopback_only() {
    let mut published = BTreeSet::new();
    for (name, service) in services() {
        assert_ne!(service["network_mode"], "host", "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().unwrap_or_else(|| panic!("{name}: write the port {port} in quotes"));
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port} on every interface");
            assert!(published.insert(port.to_owned()), "{name} publishes {port} a second time");
        }
    }
    assert!(published.iter().any(|port| port.ends_with(":9464")), "the admin address is published: {published:?}");
}

/// The variables that `run --help` lists: lines that begin with a name in capitals.
fn read_by_the_binary() -> BTreeSet<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_workflow-bridge")).args(["run", "--help"]).output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("help is UTF-8");
    let names = help.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| {
        word.contains('_')
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    });
    names.map(str::to_owned).collect()
}

/// The variables that the shipped routing files refer to: `${NAME}`, `${NAME:-default}`, `{env: NAME}`.
/// True says that there is no default.
fn read_by_the_rules() -> BTreeSet<(String, bool)> {
    let name = |text: &str| -> String {
        text.chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').collect()
    };
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(repository().join("routing")).expect("there are shipped rules") {
        let text = fs::read_to_string(entry.expect("a folder can be listed").path()).expect("a rule file is UTF-8");
        let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
        for line in lines {
            for rest in line.split("${").skip(1) {
                let name = name(rest);
                let bare = !rest[name.len()..].starts_with(":-");
                found.insert((name, bare));
            }
            found.extend(line.split("env: ").skip(1).map(|rest| (name(rest), true)));
        }
    }
    found
}

#[test]
fn every_variable_of_the_bridge_is_one_that_it_reads_and_none_is_missing() {
    let service = services().remove("bridge").expect("compose has the bridge");
    let set: BTreeSet<String> =
        service["environment"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let mut known = read_by_the_binary();
    assert!(known.contains("KAFKA_BOOTSTRAP_SERVERS"), "`run --help` lists its variables; it lists {known:?}");
    for line in read("Dockerfile").lines() {
        let assignment = line.trim_start().trim_start_matches("ENV ");
        if let Some((name, _)) = assignment.split_once('=')
            && name.starts_with("BRIDGE_")
        {
            assert!(known.contains(name), "the Dockerfile sets {name}, which the bridge does not read");
        }
    }
    let rules = read_by_the_rules();
    for (name, needed) in &rules {
        assert!(!needed || set.contains(name), "the shipped rules need {name}, which compose does not set");
    }
    known.extend(rules.into_iter().map(|(name, _)| name));
    let unknown: Vec<_> = set.difference(&known).collect();
    assert!(unknown.is_empty(), "compose sets {unknown:?}, which the bridge does not read");
}

#[test]
fn prometheus_asks_the_address_that_the_bridge_listens_on() {
    let config = yaml("deploy/prometheus/prometheus.yml");
    let targets: Vec<_> = strings(&config["scrape_configs"][0]["static_configs"][0]["targets"]).collect();
    assert_eq!(targets, ["bridge:9464"]);
    let admin = &services()["bridge"]["environment"]["BRIDGE_ADMIN_ADDR"];
    assert_eq!(admin, "0.0.0.0:9464");
}

#[test]
fn the_bridge_may_drain_before_docker_kills_it() {
    let grace = &services()["bridge"]["stop_grace_period"];
    let seconds: u64 = grace.as_str().and_then(|grace| grace.strip_suffix('s')?.parse().ok()).expect("in seconds");
    assert!(seconds > 8, "the bridge drains for 8 s, compose gives it {seconds} s");
}
