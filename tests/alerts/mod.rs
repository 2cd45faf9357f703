//! The alerts say what they are meant to: each situation of deploy/prometheus/alerts-test.yml, which is written for
//! `promtool test rules`, is evaluated here, and by promtool itself where it is installed.

mod promql;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;
use workflow_bridge::testing;

use self::promql::{Labels, Series};

fn yaml(path: &str) -> Value {
    testing::yaml(&super::read(path)).unwrap_or_else(|faults| panic!("{path}: {faults}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a text, found {value}"))
}

fn minutes(value: &Value) -> i64 {
    let text = text(value).strip_suffix('m').unwrap_or_else(|| panic!("expected minutes, found {value}"));
    text.parse().unwrap_or_else(|_| panic!("expected minutes, found {value}"))
}

/// Name, expression, and for how many minutes it must hold.
fn alerts() -> BTreeMap<String, (String, i64)> {
    let file = yaml("deploy/prometheus/alerts.yml");
    let rules = list(&file["groups"]).flat_map(|group| list(&group["rules"]).cloned().collect::<Vec<_>>());
    rules
        .map(|rule| {
            let lasts = rule.get("for").map_or(0, minutes);
            (text(&rule["alert"]).to_owned(), (text(&rule["expr"]).to_owned(), lasts))
        })
        .collect()
}

/// The label sets for which an alert fires at a minute.
fn fires(series: &Series, (expression, lasts): &(String, i64), minute: i64) -> BTreeSet<Labels> {
    let each = (minute - lasts..=minute).map(|minute| series.holds(expression, minute));
    each.reduce(|before, now| before.intersection(&now).cloned().collect()).unwrap_or_default()
}

fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().map_or(value.to_string(), str::to_owned))).collect()
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let alerts = alerts();
    let (mut fired, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in list(&yaml("deploy/prometheus/alerts-test.yml")["tests"]) {
        let mut series = Series::default();
        for one in list(&test["input_series"]) {
            series.add(text(&one["series"]), text(&one["values"]));
        }
        for case in list(&test["alert_rule_test"]) {
            let (name, minute) = (text(&case["alertname"]), minutes(&case["eval_time"]));
            let alert = alerts.get(name).unwrap_or_else(|| panic!("there is no alert {name}"));
            let expected: BTreeSet<_> = list(&case["exp_alerts"]).map(|alert| labels(&alert["exp_labels"])).collect();
            assert_eq!(fires(&series, alert, minute), expected, "{name} at minute {minute}: {}", test["name"]);
            if expected.is_empty() {
                silent.insert(name.to_owned())
            } else {
                fired.insert(name.to_owned())
            };
        }
    }
    let all: BTreeSet<_> = alerts.into_keys().collect();
    assert_eq!(
        (&fired, &silent),
        (&all, &all),
        "each alert has a situation in which it fires, and one in which it does not"
    );
}

#[test]
fn promtool_says_the_same_where_it_is_installed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");
    let run = |arguments: &[&str]| Command::new("promtool").args(arguments).current_dir(folder).output();
    if let Err(missing) = run(&["--version"]) {
        // The test above has evaluated the same file.
        println!("promtool is not installed ({missing}): the alerts were evaluated by this test's own reader alone");
        return;
    }
    for arguments in [&["check", "rules", "alerts.yml"][..], &["test", "rules", "alerts-test.yml"]] {
        let output = run(arguments).unwrap_or_else(|error| panic!("promtool: {error}"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    }
}

#[test]
fn the_alerts_know_only_metrics_that_there_are_and_the_page_shows_the_file() {
    let known: BTreeSet<_> = testing::metrics().into_iter().map(|metric| metric.name).collect();
    for (alert, (expression, _)) in alerts() {
        let words = expression.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("workflow_bridge_")) {
            assert!(known.contains(word), "{alert} asks for {word}, which is no metric");
        }
    }
    let file = super::read("deploy/prometheus/alerts.yml");
    let rules: String =
        file.lines().skip_while(|line| line.starts_with('#')).fold(String::new(), |all, line| all + line + "\n");
    assert!(
        super::read("docs/metrics.md").contains(&format!("```yaml\n{rules}```")),
        "docs/metrics.md shows other rules"
    );
    assert!(super::read("deploy/prometheus/prometheus.yml").contains("alerts.yml"), "Prometheus loads the rules");
    assert!(super::read("docker-compose.yml").contains("./deploy/prometheus/alerts.yml:"), "compose mounts the rules");
}
