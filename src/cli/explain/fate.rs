//! What became of an event that was found, from what is known of it. Pure.
//!
//! Its invariant: an answer says where it comes from, and one that knows nothing says why.

use serde_json::{Value, json};

use super::{
    found::{Found, Place, PoisonRecord},
    search::Letter,
};

/// What is known of an event beside its record.
pub(super) struct Known<'k> {
    /// Its page, as a bridge or the ledger topic has it, and which of them.
    pub(super) page: Option<(Value, String)>,
    /// The ledger's event of this id is another one.
    pub(super) is_another: bool,
    /// What the group has committed of its partition.
    pub(super) committed: Option<i64>,
    /// Why that is not known.
    pub(super) no_committed: Option<&'k str>,
    /// The dead letters of it; `None` when nobody looked.
    pub(super) letters: Option<&'k [Letter]>,
    /// Why the rules are not known.
    pub(super) no_rules: Option<&'k str>,
    /// Why the ledger topic is not known.
    pub(super) no_ledger: Option<&'k str>,
}

/// The page of an event.
pub(super) fn page(found: &Found, known: &Known<'_>) -> Value {
    let letters: Vec<&Letter> = known.letters.into_iter().flatten().filter(|letter| is_of(letter, found)).collect();
    let whole = letters.iter().find(|letter| letter.delivery.is_none());
    let (state, note) = match (&known.page, whole) {
        (Some(_), _) if known.is_another => (
            Some("dead_lettered"),
            Some(
                "the ledger has another event with this id, which was first: this one is a dead letter, id_conflict"
                    .to_owned(),
            ),
        ),
        (Some((page, _)), _) => (page["state"].as_str(), page["note"].as_str().map(str::to_owned)),
        (None, Some(letter)) => {
            (Some("dead_lettered"), Some(format!("the whole record is a dead letter: {}", letter.reason)))
        }
        (None, None) => {
            let (state, note) = without_record(found, known);
            (Some(state), Some(note))
        }
    };
    let base = known.page.as_ref().filter(|_| !known.is_another).map(|(page, _)| page.clone());
    let mut page = base.unwrap_or_else(|| json!({"event_id": found.event_id, "deliveries": []}));
    page["state"] = state.into();
    page["event_type"] = (&*found.event_type).into();
    page["workflow_id"] = (&*found.workflow_id).into();
    page["workflow_run_id"] = (&*found.workflow_run_id).into();
    page["record"] = found.place.json();
    page["published"] = found.published_ms.and_then(time).into();
    page["copies"] = found.copies.into();
    page["committed"] = known.committed.into();
    page["rules"] = found.rules.clone().into();
    page["dead_letters"] =
        known.letters.map(|_| letters.iter().map(|letter| letter_json(letter)).collect::<Vec<_>>()).into();
    page["known_from"] = known.page.as_ref().map(|(_, from)| from.as_str()).into();
    page["nearest"] = found.nearest.clone().filter(|_| state == Some("unmatched")).into();
    page["note"] = note.into();
    page
}

/// The state, and why, of an event that has no record in the ledger.
fn without_record(found: &Found, known: &Known<'_>) -> (&'static str, String) {
    let Place { topic, partition, offset } = &found.place;
    let at = format!("{topic}[{partition}]");
    match known.committed {
        None if let Some(why) = known.no_committed => {
            return ("unknown", format!("whether it was read is not known: {why}"));
        }
        None => {
            return (
                "not_read",
                format!(
                    "the group has committed nothing of {at}: no bridge has read it, or none has ended what it read"
                ),
            );
        }
        Some(committed) if committed <= *offset => {
            let behind = offset - committed;
            return (
                "not_read",
                format!(
                    "the committed offset of {at} is {committed}, before it ({behind} offsets lie between): it has not been \
                     read, or is under way and has no attempt that ended"
                ),
            );
        }
        Some(_) => {}
    }
    match (&found.rules, known.no_ledger, known.no_rules) {
        (_, Some(why), _) => ("unknown", format!("it was read; what became of it is not known: {why}")),
        (Some(rules), ..) if rules.is_empty() => ("unmatched", "it was read, and no rule matches it".to_owned()),
        (Some(rules), ..) => (
            "unknown",
            format!(
                "it was read, and the ledger has no record of it, although it matches {} today: the rules were others when it \
                 was read (`replay --diff` compares), or asked for too many deliveries of it (then it is a dead letter), or it \
                 was read longer ago than dedup.window",
                some_of(rules)
            ),
        ),
        (None, ..) => (
            "unmatched",
            format!(
                "it was read, and the ledger has no record of it: no rule matched it then, or it was read longer ago than \
                 dedup.window. Which rules match it today is not known: {}",
                known.no_rules.unwrap_or("there are no rules here")
            ),
        ),
    }
}

/// The first of these names, and how many more there are.
fn some_of(rules: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = rules.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match rules.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether a dead letter is of this event.
pub(super) fn is_of(letter: &Letter, found: &Found) -> bool {
    let is_record = letter.origin.as_ref() == Some(&found.place);
    // A letter of a redriven delivery names the record that asked for it.
    is_record || (letter.delivery.is_some() && letter.event_id.as_ref() == Some(&found.event_id))
}

/// The page of a record that is no event.
pub(super) fn poison(record: &PoisonRecord, committed: Option<i64>, letters: Option<&[Letter]>) -> Value {
    let letters: Option<Vec<Value>> = letters.map(|letters| {
        letters.iter().filter(|letter| letter.origin.as_ref() == Some(&record.place)).map(letter_json).collect()
    });
    json!({
        "record": record.place.json(),
        "reason": record.reason,
        "error": record.error,
        "committed": committed,
        "dead_letters": letters,
    })
}

pub(super) fn letter_json(letter: &Letter) -> Value {
    let (rule, agent) = letter.delivery.clone().unzip();
    json!({
        "letter": letter.place.json(),
        "reason": letter.reason,
        "error": letter.error,
        "rule": rule,
        "agent": agent,
        "generation": letter.generation.number,
        "again": letter.generation.again,
        "done": letter.done.map(crate::kafka::MarkKind::as_str),
    })
}

fn time(ms: i64) -> Option<String> {
    Some(jiff::Timestamp::from_millisecond(ms).ok()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Generation;

    fn found(rules: Option<&[&str]>) -> Found {
        Found {
            event_id: "e".into(),
            event_type: "WORKFLOW_COMPLETED".into(),
            workflow_id: "etl".into(),
            workflow_run_id: "r".into(),
            digest: 7,
            place: place("t", 10),
            published_ms: Some(0),
            copies: 0,
            rules: rules.map(|rules| rules.iter().map(|rule| (*rule).to_owned()).collect()),
            nearest: Some(json!({"rule": "near"})),
        }
    }

    fn place(topic: &str, offset: i64) -> Place {
        Place { topic: topic.into(), partition: 1, offset }
    }

    fn nothing() -> Known<'static> {
        Known {
            page: None,
            is_another: false,
            committed: Some(11),
            no_committed: None,
            letters: None,
            no_rules: None,
            no_ledger: None,
        }
    }

    #[track_caller]
    fn says(found: &Found, known: &Known<'_>, state: &str, words: &str) {
        let page = page(found, known);
        let note = page["note"].as_str().unwrap_or_default();
        assert!(page["state"] == state && note.contains(words), "{page:#}");
    }

    #[test]
    fn an_event_without_a_record_in_the_ledger_says_why() {
        for (committed, words) in
            [(None, "committed nothing of t[1]"), (Some(7), "is 7, before it (3 offsets"), (Some(10), "(0 offsets")]
        {
            says(&found(Some(&[])), &Known { committed, ..nothing() }, "not_read", words);
        }
        let denied = Known { committed: None, no_committed: Some("the group is denied"), ..nothing() };
        says(&found(Some(&[])), &denied, "unknown", "whether it was read is not known: the group is denied");
        says(&found(Some(&[])), &nothing(), "unmatched", "no rule matches it");
        assert_eq!(page(&found(Some(&[])), &nothing())["nearest"]["rule"], "near");
        assert_eq!(page(&found(Some(&["a"])), &nothing())["nearest"], Value::Null);
        says(&found(Some(&["a", "b"])), &nothing(), "unknown", "matches a, b today");
        says(&found(None), &Known { no_rules: Some("no folder"), ..nothing() }, "unmatched", "not known: no folder");
        let no_ledger = Known { no_ledger: Some("it is off"), ..nothing() };
        says(&found(Some(&["a"])), &no_ledger, "unknown", "what became of it is not known: it is off");
        says(&found(Some(&[])), &no_ledger, "unknown", "it is off");
    }

    #[test]
    fn dead_letters_are_those_of_the_record_or_of_a_delivery_of_the_event() {
        let letter = |origin: i64, id: &str, delivery: Option<(&str, &str)>| Letter {
            place: place("t.dlq", 3),
            event_id: Some(id.to_owned()),
            origin: Some(place("t", origin)),
            reason: "id_conflict".into(),
            error: "it was used before".into(),
            delivery: delivery.map(|(rule, agent)| (rule.to_owned(), agent.to_owned())),
            generation: Generation { again: 2, number: 1 },
            done: Some(crate::kafka::MarkKind::Redriven),
        };
        // That of another record with its id is not one of this event.
        let others = [letter(99, "e", None), letter(98, "other", Some(("a", "b")))];
        says(&found(Some(&[])), &Known { letters: Some(&others), ..nothing() }, "unmatched", "");
        let own = [letter(10, "e", None), letter(99, "e", Some(("a", "b")))];
        let known = Known { letters: Some(&own), ..nothing() };
        says(&found(Some(&[])), &known, "dead_lettered", "id_conflict");
        let page = page(&found(None), &known);
        let deaths = page["dead_letters"].as_array().unwrap();
        assert_eq!((deaths.len(), &deaths[1]["agent"], &deaths[0]["done"]), (2, &"b".into(), &"redriven".into()));
        assert_eq!((&deaths[1]["generation"], &deaths[1]["again"]), (&1.into(), &2.into()));
    }

    #[test]
    fn what_the_ledger_knows_is_kept_unless_it_is_about_another_event() {
        let record = json!({"event_id": "e", "state": "delivered", "deliveries": [{"rule": "a"}], "note": null});
        let known = |is_another| Known { page: Some((record.clone(), "a bridge".into())), is_another, ..nothing() };
        let own = page(&found(None), &known(false));
        assert_eq!((&own["state"], &own["deliveries"][0]["rule"]), (&"delivered".into(), &"a".into()));
        assert_eq!((&own["known_from"], &own["note"]), (&"a bridge".into(), &Value::Null));
        let other = page(&found(None), &known(true));
        assert_eq!((&other["state"], &other["deliveries"]), (&"dead_lettered".into(), &json!([])));
    }
}
