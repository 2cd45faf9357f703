use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use super::*;

pub(super) struct Case {
    folder: tempfile::TempDir,
    env: BTreeMap<&'static str, &'static str>,
    flags: BTreeMap<&'static str, String>,
}

impl Case {
    pub(super) fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bridge.yaml"), yaml).unwrap();
        Self { folder, env: BTreeMap::new(), flags: BTreeMap::new() }
    }

    pub(super) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.insert(name, value);
        self
    }

    fn flag(mut self, path: &'static str, value: &str) -> Self {
        self.flags.insert(path, value.to_owned());
        self
    }

    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        let env = |name: &str| self.env.get(name).map(|value| (*value).to_owned());
        let file = Some(self.folder.path().join("bridge.yaml"));
        Config::load(&Sources { flags: self.flags.clone(), env: &env, file })
    }

    #[track_caller]
    fn problems(&self, expected: &[&str]) {
        let problems = self.load().expect_err("it has mistakes").problems;
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for word in expected {
            assert!(problems.iter().any(|problem| problem.to_string().contains(word)), "no `{word}` in {problems:#?}");
        }
    }
}

#[test]
fn flags_override_the_environment_which_overrides_the_file_and_the_default() {
    let yaml = "kafka: {group_id: from-file, client_id: from-file}\nrouting_dir: from-file\n";
    let case = Case::new(yaml)
        .env("KAFKA_CONSUMER_GROUP_ID", "from-env")
        .env("BRIDGE_ROUTING_DIR", "from-env")
        .env("KAFKA_SERVICE_NAME", "")
        .flag("routing_dir", "from-flag");
    let config = case.load().unwrap();
    assert_eq!(config.routing_dir, PathBuf::from("from-flag"));
    assert_eq!(config.kafka.group_id, "from-env");
    assert_eq!(config.kafka.client_id, "from-file", "an empty variable counts as unset");
    assert_eq!(config.kafka.bootstrap_servers, "localhost:9092");
    assert_eq!(config.dedup_window, Duration::from_secs(7 * 86_400));
    assert_eq!(config.log_format, LogFormat::Text);
}

#[test]
fn there_is_no_spool_unless_one_is_configured() {
    let spool = |case: Case| case.load().unwrap().spool_dir;
    assert_eq!(spool(Case::new("{}")), None);
    assert_eq!(spool(Case::new("spool_dir: /spool\n")), Some(PathBuf::from("/spool")));
    let named = |value| Case::new("spool_dir: /spool\n").env("WORKFLOW_EVENTS_SPOOL_DIR", value);
    assert_eq!(spool(named("/other")), Some(PathBuf::from("/other")));
    assert_eq!(spool(named("off")), None);
}

#[test]
fn topics_are_a_list_in_the_file_and_comma_separated_in_the_environment() {
    assert_eq!(Case::new("kafka: {topics: [a, b]}").load().unwrap().kafka.topics, ["a", "b"]);
    assert_eq!(Case::new("kafka: {topics: one}").load().unwrap().kafka.topics, ["one"]);
    assert_eq!(Case::new("").env("KAFKA_TOPIC", "c, d").load().unwrap().kafka.topics, ["c", "d"]);
}

#[test]
fn every_problem_is_reported_with_its_location() {
    Case::new("kafka:\n  topcs: [a]\ndrain_timeout: soon\nlog_format: xml\n")
        .env("BRIDGE_MAX_EVENTS", "many")
        .problems(&[
            "bridge.yaml:2:3: `kafka.topcs` is not a setting: did you mean `kafka.topics`?",
            "bridge.yaml:3:16: `drain_timeout`: expected a duration",
            "bridge.yaml:4:13: `log_format`: expected text or json, found `xml`",
            "BRIDGE_MAX_EVENTS: `kafka.budget.max_events`: expected a whole number",
        ]);
    Case::new("[1, 2]").problems(&["expected a map of settings, found a list"]);
    Case::new("kafka: {a: 1\n").problems(&["bridge.yaml:"]);
}

#[test]
fn a_drain_longer_than_the_session_is_refused() {
    Case::new("drain_timeout: 10s\nkafka: {properties: {session.timeout.ms: '9000'}}\n").problems(&["drain_timeout"]);
    Case::new("dedup: {window: 5s}\n").problems(&["dedup.window"]);
}

#[test]
fn a_secret_is_read_from_the_environment_or_a_file_and_refused_in_bridge_yaml() {
    let sasl = |password: &str| {
        format!(
            "kafka: {{security: {{protocol: SASL_PLAINTEXT, sasl_mechanism: PLAIN, sasl_username: u, sasl_password: {password}}}}}"
        )
    };
    let error = Case::new(&sasl("hunter2")).load().unwrap_err();
    assert!(
        error.problems[0].message.contains("a secret must not be in the file")
            && !error.to_string().contains("hunter2"),
        "{error}"
    );
    assert!(Case::new(&sasl("{env: MISSING}")).load().unwrap_err().to_string().contains("MISSING is not set"));
    let case = Case::new("");
    fs::write(case.folder.path().join("password"), "from-a-file\n").unwrap();
    let yaml = sasl(&format!("{{file: '{}'}}", case.folder.path().join("password").display()));
    let config = Case::new(&yaml).load().unwrap();
    assert!(config.kafka.security.sasl_password.is_some());
    assert!(!format!("{config:?}").contains("from-a-file"), "a secret is shown by Debug");
    Case::new(&sasl("{env: GIVEN}")).env("GIVEN", "x").load().unwrap();
}

#[test]
fn a_secret_among_the_properties_is_treated_the_same() {
    let literal = "kafka: {properties: {ssl.key.password: hunter2}}";
    let error = Case::new(literal).load().unwrap_err().to_string();
    assert!(error.contains("bridge.yaml:1:") && !error.contains("hunter2"), "{error}");
    let named = Case::new("kafka: {properties: {ssl.key.password: {env: KEY}}}").env("KEY", "from-env");
    assert_eq!(named.load().unwrap().kafka.properties["ssl.key.password"], "from-env");
}

#[test]
fn a_problem_of_a_value_names_its_location() {
    Case::new("").env("BRIDGE_MAX_EVENTS", "0").problems(&["BRIDGE_MAX_EVENTS: `kafka.budget.max_events`"]);
    Case::new("kafka: {topics: [a, a]}").problems(&["bridge.yaml:1:17: `kafka.topics[1]`"]);
    Case::new("kafka: {properties: {acks: '1'}}").problems(&["bridge.yaml:1:28: `kafka.properties.acks`"]);
    Case::new("admin_addr: nonsense").problems(&["bridge.yaml:1:13: `admin_addr`: expected HOST:PORT"]);
    let url = Case::new("").env("KAFKA_BOOTSTRAP_SERVERS", "http://u:hunter2@host:9092");
    assert!(!url.load().unwrap_err().to_string().contains("hunter2"));
    Case::new("").env("KAFKA_BOOTSTRAP_SERVERS", "host:99999").problems(&["port from 1 to 65535"]);
}

#[test]
fn a_file_that_was_given_must_exist() {
    let env = |_: &str| None;
    let missing = Some(PathBuf::from("/nonexistent/bridge.yaml"));
    let error = Config::load(&Sources { flags: BTreeMap::new(), env: &env, file: missing }).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/bridge.yaml: the settings file cannot be read"), "{error}");
}

#[test]
fn a_password_ends_before_its_line_break_and_is_neither_blank_nor_has_control_characters() {
    let yaml = "kafka: {security: {protocol: SASL_PLAINTEXT, sasl_mechanism: PLAIN, sasl_username: u}}";
    let password = |value| Case::new(yaml).env("KAFKA_SASL_PASSWORD", value);
    for ending in ["hunter2\n", "hunter2\r\n", "hunter2"] {
        let config = password(ending).load().unwrap();
        assert_eq!(config.kafka.security.sasl_password, Some(Password::new("hunter2")));
    }
    password(" \n").problems(&["KAFKA_SASL_PASSWORD: `kafka.security.sasl_password`: the environment variable"]);
    let error = password("hunter2\n\u{1}secret\n").load().unwrap_err().to_string();
    assert!(error.contains(r"found `\n` as its character 8") && !error.contains("hunter2"), "{error}");
    assert!(!error.contains("secret\u{a}") && error.lines().count() == 1, "{error}");

    let named = |value| Case::new("kafka: {properties: {ssl.key.password: {env: KEY}}}").env("KEY", value);
    named("  ").problems(&["the environment variable KEY is blank"]);
    assert_eq!(named("x\n").load().unwrap().kafka.properties["ssl.key.password"], "x");
}

#[test]
fn a_control_character_in_a_setting_is_shown_escaped() {
    Case::new("").env("KAFKA_CONSUMER_GROUP_ID", "bridge\n").problems(&[r"found `\n` as its character 7"]);
    Case::new("").env("KAFKA_SERVICE_NAME", "a\u{7}b").problems(&[r"found `\u{7}` as its character 2"]);
    Case::new("").env("BRIDGE_DATA_DIR", "data\r").problems(&[
        r"BRIDGE_DATA_DIR: `data_dir`: expected text without control characters, found `\r` as its character 5",
    ]);
    Case::new("").env("BRIDGE_LOG_FORMAT", "j\u{1b}[1mson").problems(&[r"found `j\u{1b}[1mson`"]);
}

/// A key instead of its path, or a password in an address.
#[test]
fn nothing_else_of_a_value_with_control_characters_is_shown() {
    for (name, value) in [
        ("KAFKA_SSL_KEYFILE", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"),
        ("KAFKA_BOOTSTRAP_SERVERS", "alice:hunter2@kafka:9092\n\t,x"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092 password=hunter2"),
    ] {
        let error = Case::new("").env(name, value).load().unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_pipe_instead_of_a_file_is_refused_without_waiting_for_it() {
    let pipe = |folder: &std::path::Path| {
        let pipe = folder.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        pipe
    };
    let folder = tempfile::tempdir().unwrap();
    let path = pipe(folder.path());
    let env = |_: &str| None;
    let error = Config::load(&Sources { flags: BTreeMap::new(), env: &env, file: Some(path.clone()) }).unwrap_err();
    assert!(error.to_string().contains("expected a regular file, found a named pipe"), "{error}");
    let path = path.display();
    Case::new(&format!("kafka: {{properties: {{ssl.key.password: {{file: '{path}'}}}}}}")).problems(&["a named pipe"]);
    Case::new(&format!("kafka: {{security: {{protocol: SSL, ssl_cafile: '{path}'}}}}")).problems(&["a named pipe"]);
}

/// A secret that was pasted where its name, or nothing of it, belongs.
#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    let sasl = |rest: &str| format!("kafka: {{security: {{protocol: SASL_SSL, sasl_username: u, {rest}}}}}");
    for (yaml, expected) in [
        (sasl("sasl_mechanism: PLAIN, sasl_password: {env: sk_hunter2}"), "variable that is named here (not shown"),
        (sasl("sasl_mechanism: PLAIN, sasl_password: {file: hunter2}"), "the file (path not shown): No such file"),
        (sasl("sasl_mechanism: hunter2, sasl_password: {env: P}"), "found another text (not shown)"),
        (sasl("sasl_mechanism: PLAIN, sasl_password: {env: P}, hunter: x"), "a key of `kafka.security` (not shown)"),
        ("kafka: {security: {protocol: hunter2}}".into(), "found another text (not shown)"),
        ("kafka: {'hunter2=x': 1}".into(), "a key of `kafka` (not shown)"),
        ("{hunter2}".into(), "this key (not shown) is not a setting"),
        ("kafka: {properties: {debug: {env: D}}}".into(), "`kafka.properties.debug`: librdkafka refuses"),
        ("kafka: {properties: {debug: {file: FILE}}}".into(), "`kafka.properties.debug`: librdkafka refuses"),
        ("kafka: {properties: {'ssl.key.password=hunter2': x}}".into(), "expected the name of a librdkafka property"),
        ("kafka: {properties: {sasl.username: {env: D}}}".into(), "the bridge owns this property: use the setting"),
        ("admin_addr: 'alice:hunter2@127.0.0.1:9464'".into(), "`admin_addr`: expected HOST:PORT"),
        ("{a: 1, 'hunter2!': 1, 'hunter2!': 2}".into(), "the key (not shown) stands here for the second time"),
    ] {
        let case = Case::new("");
        let path = case.folder.path().join("secret");
        fs::write(&path, "hunter2").unwrap();
        let yaml = yaml.replace("FILE", &path.display().to_string());
        let error = Case::new(&yaml).env("D", "hunter2").env("P", "p").load().unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("hunter"), "{yaml}: {error}");
    }
    let error = Case::new("").flag("admin_addr", "http://alice:hunter2@h:1").load().unwrap_err().to_string();
    assert!(error.contains("`admin_addr`: expected HOST:PORT") && !error.contains("hunter2"), "{error}");
    let config = Case::new("kafka: {properties: {client.rack: {env: D}}}").env("D", "hunter2").load().unwrap();
    assert!(!format!("{config:?}").contains("hunter2"), "a secret is shown by Debug");
}
