//! The configuration of the ledger topic: what it is created with, and what an existing one must have. Pure.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// A record of the ledger has at most 1 MiB.
const LARGEST_RECORD: u64 = 1 << 20;
/// With room for what surrounds it.
const MAX_MESSAGE_BYTES: u64 = 2 << 20;

/// What is wrong with an existing topic.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Finding {
    /// It cannot hold the ledger.
    Refused { reason: String, advice: String },
    /// It may lose records that are needed; `set` is the configuration that prevents it.
    Warning { reason: String, set: String },
}

/// How much longer than the window records are kept.
fn margin(window: Duration) -> Duration {
    DAY.max(window / 7)
}

fn retention_ms(window: Duration) -> u128 {
    (window + margin(window)).as_millis()
}

/// What the topic is created with.
pub(in crate::kafka) fn wanted(window: Duration) -> Vec<(&'static str, String)> {
    vec![
        ("cleanup.policy", "delete".into()),
        ("retention.ms", retention_ms(window).to_string()),
        ("retention.bytes", "-1".into()),
        // Retention removes whole segments: small ones, so that it comes about in time.
        ("segment.ms", (margin(window) / 2).as_millis().to_string()),
        ("max.message.bytes", MAX_MESSAGE_BYTES.to_string()),
    ]
}

/// The same as one text.
pub(super) fn text(config: &[(&str, String)]) -> String {
    config.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// What an existing topic lacks. A value that the broker does not tell is not judged.
pub(in crate::kafka) fn check(value: impl Fn(&str) -> Option<String>, window: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    let number = |name: &str| value(name).and_then(|text| text.parse::<i128>().ok());
    if let Some(policy) = value("cleanup.policy")
        && policy.split(',').any(|word| word.trim() == "compact")
    {
        findings.push(Finding::Refused {
            reason: format!(
                "its cleanup.policy is {policy}, expected delete: compaction keeps the last record of an event, which a \
                 replica that was stopped may have written before a better one"
            ),
            advice: "set cleanup.policy=delete on it, or name another topic".into(),
        });
    }
    if let Some(bytes) = number("max.message.bytes")
        && bytes < i128::from(LARGEST_RECORD)
    {
        findings.push(Finding::Refused {
            reason: format!(
                "its max.message.bytes is {bytes}, expected at least {LARGEST_RECORD}, the largest record of a ledger"
            ),
            advice: format!("set max.message.bytes={MAX_MESSAGE_BYTES} on it"),
        });
    }
    let window_ms = i128::try_from(window.as_millis()).unwrap_or(i128::MAX);
    if let Some(retention) = number("retention.ms")
        && (0..window_ms).contains(&retention)
    {
        findings.push(Finding::Warning {
            reason: format!("its retention.ms is {retention}, shorter than the dedup window of {window_ms} ms"),
            set: format!("retention.ms={}", retention_ms(window)),
        });
    }
    if let Some(bytes) = number("retention.bytes")
        && bytes >= 0
    {
        findings.push(Finding::Warning {
            reason: format!(
                "its retention.bytes is {bytes}, expected -1: records may leave before the dedup window ends"
            ),
            set: "retention.bytes=-1".into(),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

    fn check_with(changes: &[(&str, &str)]) -> Vec<Finding> {
        let wanted = wanted(WEEK);
        let value = |name: &str| {
            let other = changes.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            other.or_else(|| wanted.iter().find(|(wanted, _)| *wanted == name).map(|(_, value)| value.clone()))
        };
        check(value, WEEK)
    }

    #[test]
    fn a_topic_is_created_with_a_configuration_that_passes_the_check() {
        assert_eq!(check_with(&[]), []);
        let get = |window, name| wanted(window).into_iter().find(|(found, _)| *found == name).unwrap().1;
        assert_eq!(get(WEEK, "retention.ms"), (WEEK + DAY).as_millis().to_string(), "a day more");
        assert_eq!(get(WEEK * 3, "retention.ms"), (WEEK * 3 + DAY * 3).as_millis().to_string(), "or a seventh");
        assert_eq!(check(|_| None, WEEK), [], "a broker that tells nothing");
    }

    #[test]
    fn a_topic_that_cannot_hold_the_ledger_is_refused() {
        for (name, value) in
            [("cleanup.policy", "compact"), ("cleanup.policy", "compact,delete"), ("max.message.bytes", "1048575")]
        {
            let found = check_with(&[(name, value)]);
            assert!(
                matches!(&found[..], [Finding::Refused { reason, .. }] if reason.contains(name) && reason.contains(value)),
                "{found:?}"
            );
        }
        assert_eq!(check_with(&[("max.message.bytes", "1048588")]), [], "the default of a broker");
    }

    #[test]
    fn a_topic_that_loses_records_too_early_is_reported_with_the_remedy() {
        for (name, value, remedy) in
            [("retention.ms", "604799999", "retention.ms=691200000"), ("retention.bytes", "1", "retention.bytes=-1")]
        {
            let found = check_with(&[(name, value)]);
            assert!(matches!(&found[..], [Finding::Warning { set, .. }] if set == remedy), "{found:?}");
        }
        assert_eq!(check_with(&[("retention.ms", "-1")]), [], "kept for ever");
        assert_eq!(check_with(&[("retention.ms", "604800000")]), [], "just the window");
    }
}
