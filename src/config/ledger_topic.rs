//! `dedup.ledger_topic`: the topic that carries the ledger to the other replicas.

use crate::kafka::KafkaSettings;

/// Kafka's limit on the length of a topic's name.
const MAX_NAME: usize = 249;

/// The topic's name for a value of the setting; `None` when it is `off`. The error says what is wrong with it.
pub(super) fn topic(value: &str, kafka: &KafkaSettings) -> Result<Option<String>, String> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let is_derived = value.eq_ignore_ascii_case("on");
    let topic = if is_derived { format!("{}-ledger", kafka.group_id) } else { value.to_owned() };
    if !is_name(&topic) {
        let remedy = if is_derived {
            ", which follows from kafka.group_id: name a topic here, or write off (for one replica)"
        } else {
            ""
        };
        return Err(format!(
            "expected on, off or a topic's name (letters, digits, `.`, `_` and `-`, at most {MAX_NAME}), found `{}`{remedy}",
            topic.escape_debug()
        ));
    }
    let taken = kafka.topics.iter().any(|source| *source == topic || kafka.dead_letter_topic(source) == topic);
    if taken {
        return Err(format!("`{topic}` is a topic of events or of dead letters: name one that nothing else uses"));
    }
    Ok(Some(topic))
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(allowed) && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_follows_from_the_group_unless_it_is_named_or_off() {
        let kafka = KafkaSettings { group_id: "etl".into(), ..KafkaSettings::default() };
        assert_eq!(topic("on", &kafka), Ok(Some("etl-ledger".to_owned())));
        assert_eq!(topic(" OFF ", &kafka), Ok(None));
        assert_eq!(topic("bridge.ledger_1", &kafka), Ok(Some("bridge.ledger_1".to_owned())));
    }

    #[test]
    fn a_name_that_kafka_refuses_or_that_is_taken_is_a_mistake() {
        let kafka = KafkaSettings { group_id: "a group/1".into(), ..KafkaSettings::default() };
        let problem = topic("on", &kafka).unwrap_err();
        assert!(
            problem.contains("`a group/1-ledger`, which follows from kafka.group_id: name a topic here"),
            "{problem}"
        );
        for bad in ["", "a b", "..", "é", &"x".repeat(250)] {
            assert!(topic(bad, &kafka).unwrap_err().contains("a topic's name"), "{bad}");
        }
        for taken in ["workflow-events", "workflow-events.dlq"] {
            assert!(topic(taken, &kafka).unwrap_err().contains("is a topic of events or of dead letters"), "{taken}");
        }
    }
}
