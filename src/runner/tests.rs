//! Both files: what is read, and every mistake.

use super::*;

fn zones() -> Vec<String> {
    ["UTC", "Europe/Berlin", "America/New_York"].map(str::to_owned).to_vec()
}

fn parse(text: &str) -> Result<RunnerConfig, ConfigError> {
    RunnerConfig::parse(text, &zones())
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    parse(text).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_small_file_has_the_defaults() {
    let config = parse(
        "runner:\n  orchestrator:\n    schedules:\n      - {name: nightly, config: jobs/acme.yaml, cron: '0 2 * * *'}\n",
    )
    .unwrap();
    assert_eq!(config.mode, RunnerMode::Orchestrated);
    assert_eq!(config.command[..3], ["{python}", "-m", "dativo_ingest.cli"]);
    assert_eq!(config.working_directory, None);
    assert_eq!((config.orchestrator.kind, config.orchestrator.concurrency_per_tenant), (OrchestratorType::Dagster, 1));
    let expected = Schedule {
        name: "nightly".into(),
        config: "/etc/app/jobs/acme.yaml".into(),
        timing: Timing::Cron { text: "0 2 * * *".into(), fields: "0 2 * * *".into() },
        enabled: true,
        timezone: "UTC".into(),
        max_concurrent_runs: 1,
        tags: [].into(),
        timeout_seconds: None,
    };
    assert_eq!(config.orchestrator.schedules, [expected]);
}

#[test]
fn every_key_is_read() {
    let config = parse(
        "runner:
  mode: oneshot
  command: [bin/ingest, --job, '{config}', '--json={\"a\": 1}', '{tenant}-{name}']
  working_directory: work
  orchestrator:
    type: airflow
    concurrency_per_tenant: 2
    schedules:
      - name: every.45-s
        config: /jobs/a.yaml
        interval_seconds: 45
        enabled: false
        timezone: Europe/Berlin
        max_concurrent_runs: 3
        tags: {team: data, priority: 1, urgent: true}
        timeout_seconds: 600
",
    )
    .unwrap();
    assert_eq!(config.mode, RunnerMode::Oneshot);
    assert_eq!(config.working_directory.as_deref(), Some("/etc/app/work".as_ref()));
    assert_eq!((config.orchestrator.kind, config.orchestrator.concurrency_per_tenant), (OrchestratorType::Airflow, 2));
    let schedule = &config.orchestrator.schedules[0];
    assert_eq!(schedule.config.to_str(), Some("/jobs/a.yaml"));
    assert_eq!((&schedule.timing, schedule.enabled), (&Timing::Interval(45), false));
    assert_eq!((schedule.timezone.as_str(), schedule.max_concurrent_runs), ("Europe/Berlin", 3));
    let tags: Vec<String> = schedule.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    assert_eq!(tags, ["priority:1", "team:data", "urgent:true"]);
    assert_eq!(schedule.timeout_seconds, Some(600));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_position() {
    let text = "runner:
  mode: orchestratd
  command: python job.py
  retries: 3
  orchestrator:
    typ: airflow
    concurrency_per_tenant: 0
    schedules:
      - name: a
        config: a.yaml
        cron: '61 * * * *'
        timezone: Europe/Berln
        enabled: 'yes'
      - name: a
        config: b.yaml
        interval_seconds: 0.5
        schedul: x
      - config: c.yaml
        cron: '@daily'
        interval_seconds: 5
      - name: a b
        tags: {team: [x]}
      - nothing
";
    let expected = [
        "runner.yaml:2:9: `runner.mode`: expected `orchestrated` or `oneshot`, found the string \"orchestratd\": did you mean `orchestrated`?",
        "runner.yaml:3:12: `runner.command`: expected a list of the program and its arguments, `[program, argument]`, found a text, which no shell would split",
        "runner.yaml:4:3: `runner.retries` is not known; expected one of `mode`, `command`, `working_directory` or `orchestrator`",
        "runner.yaml:6:5: `runner.orchestrator.typ` is not known: did you mean `type`?",
        "runner.yaml:7:29: `runner.orchestrator.concurrency_per_tenant`: expected a whole number from 1 to 1000, found the number 0",
        "runner.yaml:11:15: schedule a: `cron`: minute: expected 0 to 59, found \"61\"",
        "runner.yaml:12:19: schedule a: `timezone`: expected a name such as `Europe/Berlin`, found \"Europe/Berln\": did you mean `Europe/Berlin`?",
        "runner.yaml:13:18: schedule a: `enabled`: expected true or false, found the string \"yes\"",
        "runner.yaml:14:15: schedule a: this name is taken, as in line 9",
        "runner.yaml:16:27: schedule a: `interval_seconds`: expected a whole number from 1 to 3153600000, found the number 0.5",
        "runner.yaml:17:9: schedule a: `schedul` is not known; expected one of `name`, `config`, `cron`, `interval_seconds`, `enabled`, `timezone`, `max_concurrent_runs`, `tags` or `timeout_seconds`",
        "runner.yaml:18:9: schedule number 3: `name` is missing: expected 1 to 200 letters, digits, `_`, `.` or `-`",
        "runner.yaml:20:27: schedule number 3: expected `cron` or `interval_seconds`, found both: delete one of them",
        "runner.yaml:21:9: schedule a b: `config` is missing: expected the path of the job's file",
        "runner.yaml:21:9: schedule a b: expected `cron` or `interval_seconds`, found neither",
        "runner.yaml:21:15: schedule a b: `name`: expected 1 to 200 letters, digits, `_`, `.` or `-`, found the string \"a b\"",
        "runner.yaml:22:22: schedule a b: `tags.team`: expected a text, found a list",
        "runner.yaml:23:9: schedule number 5: expected a map, found the string \"nothing\"",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn only_runner_stands_at_the_top() {
    assert_eq!(
        problems("orchestrator: {type: airflow}\n"),
        [
            "runner.yaml:1:1: `orchestrator` is not known; expected one of `runner`",
            "runner.yaml:1:1: `runner` is missing: expected a map with `orchestrator`",
        ]
    );
    assert_eq!(problems(""), ["runner.yaml: expected a map, found an empty file"]);
    assert!(problems("runner: [\n")[0].starts_with("runner.yaml:1:9: "));
    assert_eq!(
        problems("runner:\n  command: [x, '{conf}']\n"),
        [
            "runner.yaml:2:3: `runner.orchestrator` is missing: expected a map with `schedules`",
            "runner.yaml:2:16: `runner.command`: `{conf}` is no placeholder: did you mean `config`?",
        ]
    );
}

#[test]
fn a_tag_has_100_characters_and_no_more() {
    let file = |value: usize| {
        let value = "x".repeat(value);
        format!(
            "runner:\n  orchestrator:\n    schedules:\n    - {{name: a, config: a, interval_seconds: 1, tags: {{team: {value}}}}}\n"
        )
    };
    assert!(parse(&file(95)).is_ok());
    let wrong = problems(&file(96));
    assert!(
        wrong[0].ends_with("`tags.team`: expected at most 100 characters of key, colon and value, found 101"),
        "{wrong:?}"
    );
}

#[test]
fn a_job_file_is_read_for_the_keys_of_the_runner_alone() {
    let job = JobConfig::parse(
        "tenant_id: acme
source_connector_path: connectors/stripe.yaml
environment: prod
assets: [{name: charges, anything: {at: all}}]
retry_config: {max_retries: 5, retry_delay_seconds: 0.5, retryable_error_patterns: ['timeout']}
",
    )
    .unwrap();
    assert_eq!((job.tenant_id.as_str(), job.connector.as_deref()), ("acme", Some("stripe")));
    assert_eq!(job.environment.as_deref(), Some("prod"));
    let expected = RetryConfig {
        max_retries: 5,
        initial_delay_seconds: 0.5,
        retryable_error_patterns: vec!["timeout".into()],
        ..RetryConfig::default()
    };
    assert_eq!(job.retry_config, Some(expected));
    let small = JobConfig::parse("tenant: 42\nconnector: hubspot\nsource_connector_path: x/y.yaml\n").unwrap();
    assert_eq!((small.tenant_id.as_str(), small.connector.as_deref()), ("42", Some("hubspot")));
    assert_eq!(small.retry_config, None);
}

#[test]
fn every_mistake_of_a_job_file_is_reported() {
    let text = "source_connector: [a]
retry_config:
  max_retrys: 3
  something_else: fine
  max_retries: -1
  backoff_multiplier: 0.5
  retryable_exit_codes: [1, 0, 256, x]
  retryable_error_patterns: ['(', 'fine', '[']
";
    let found: Vec<String> = JobConfig::parse(text).unwrap_err().problems.iter().map(ToString::to_string).collect();
    let expected = [
        "job.yaml:1:1: `tenant_id` is missing: expected the name of the tenant",
        "job.yaml:1:19: `source_connector`: expected a text, found a list",
        "job.yaml:3:3: `retry_config.max_retrys` is not known: did you mean `max_retries`?",
        "job.yaml:5:16: `retry_config.max_retries`: expected a whole number from 0 to 1000, found the number -1",
        "job.yaml:6:23: `retry_config.backoff_multiplier`: expected a number from 1 to 1000, found the number 0.5",
        "job.yaml:7:29: `retry_config.retryable_exit_codes`: expected a list of exit codes from 1 to 255, found the number 0",
        "job.yaml:7:32: `retry_config.retryable_exit_codes`: expected a list of exit codes from 1 to 255, found the number 256",
        "job.yaml:7:37: `retry_config.retryable_exit_codes`: expected a list of exit codes from 1 to 255, found the string \"x\"",
    ];
    assert_eq!(found[..8], expected);
    assert!(
        found[8].starts_with("job.yaml:8:30: `retry_config.retryable_error_patterns`: expected a regular expression: ")
    );
    assert!(found[9].starts_with("job.yaml:8:43: "), "{found:?}");
    assert_eq!(found.len(), 10);
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake_too() {
    let error = JobConfig::from_yaml("/no/such/job.yaml".as_ref()).unwrap_err();
    assert!(error.to_string().starts_with("/no/such/job.yaml: the file cannot be read: "), "{error}");
}
