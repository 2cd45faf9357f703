//! What is published for a letter that is redriven, or why nothing is.

use std::path::PathBuf;

use super::{super::output, pass::Context, select::Letter};
use crate::{
    bridge::{Hindrance, RedriveCheck},
    event::{Dialect, Event, Generation, Limits, Origin, RedriveRequest},
    kafka::{LetterHead, Mark, MarkKind, Outgoing},
    yaml::excerpt,
};

/// The most characters that are shown of a name.
const MAX_NAME: usize = 255;

/// A letter that will be done.
pub(super) struct Prepared {
    /// What is published before; nothing for a letter that is discarded.
    pub(super) record: Option<Outgoing>,
    pub(super) mark: Mark,
    pub(super) audit: Audit,
    /// The file with the value that a person typed.
    pub(super) edited: Option<PathBuf>,
}

/// What is said of a letter when it is done.
pub(super) struct Audit {
    pub(super) letter: String,
    pub(super) event_id: Option<String>,
    pub(super) delivery: Option<(String, String)>,
    /// The generation that the delivery gets.
    pub(super) generation: Option<Generation>,
    /// Where the record is published.
    pub(super) to: Option<String>,
}

impl Audit {
    pub(super) fn of(letter: &Letter<'_>) -> Self {
        let shown = |text: &str| excerpt(text, MAX_NAME);
        Self {
            letter: letter.place.to_string(),
            event_id: letter.head.event_id.map(shown),
            delivery: letter.head.delivery.map(|(rule, agent)| (shown(rule), shown(agent))),
            generation: None,
            to: None,
        }
    }
}

impl Prepared {
    fn new(letter: &Letter<'_>, kind: MarkKind, record: Option<Outgoing>, event: Option<&Event>) -> Self {
        let mut audit = Audit::of(letter);
        audit.event_id = event.map(|event| excerpt(event.id(), MAX_NAME)).or(audit.event_id);
        audit.to = record.as_ref().map(|record| match record.partition {
            Some(partition) => format!("{}[{partition}]", record.topic),
            None => record.topic.clone(),
        });
        let mark = Mark { kind, partition: letter.place.partition, offset: letter.place.offset };
        Self { record, mark, audit, edited: None }
    }

    /// A letter that is marked, and nothing else.
    pub(super) fn discarded(letter: &Letter<'_>) -> Self {
        Self::new(letter, MarkKind::Discarded, None, None)
    }

    /// Says where the corrected text of a letter is that is not published.
    pub(super) fn say_where_the_text_is(&self) {
        if let Some(file) = &self.edited {
            let file = file.display();
            output::note(format_args!(
                "{}: the corrected text is in {file}: publish it with --value {file}",
                self.audit.letter
            ));
        }
    }

    /// Bytes that it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.record.as_ref().map_or(0, |record| record.size().bytes())
    }
}

/// Makes the record that asks for the delivery of a letter, or publishes its record again when it is of a whole one.
///
/// # Errors
/// Why it is not redriven.
pub(super) fn redrive(
    context: &Context,
    check: &RedriveCheck,
    letter: &Letter<'_>,
    is_forced: bool,
) -> Result<Prepared, String> {
    let (topic, partition, offset) = origin(context, letter)?;
    let event = letter.event(&context.limits, None).map_err(|poison| {
        let remedy = match letter.head.delivery {
            Some(_) => "its delivery is made again as its event was published: publish the event under a new event_id",
            None => "correct it with --edit, or with a file and --value",
        };
        format!("its record is no event: {poison}: {remedy}")
    })?;
    let mut headers = letter.headers_again();
    let mut next = None;
    if let Some((rule, agent)) = letter.head.delivery {
        let generation = made(&letter.head)?;
        let from = Origin { topic: topic.into(), partition, offset };
        let checked = context.runtime.block_on(check.check(
            event.clone(),
            from,
            (rule, agent),
            (generation, letter.head.sent_to),
        ));
        match checked {
            Ok(()) => {}
            Err(Hindrance::MayRunTwice(_)) if is_forced => {}
            Err(hindrance) => return Err(hindrance.to_string()),
        }
        let generation = generation.next().ok_or("it was redriven too often")?;
        let request = RedriveRequest { rule: rule.into(), agent: agent.into(), generation, is_forced };
        headers.extend(request.headers());
        next = Some(generation);
    } else {
        whole_record(letter.head.reason, is_forced)?;
    }
    let record = Outgoing {
        topic: topic.to_owned(),
        partition: Some(partition),
        key: letter.key.map(<[u8]>::to_vec),
        value: letter.value.map(<[u8]>::to_vec),
        headers,
    };
    fits(&context.limits, &record)?;
    let mut prepared = Prepared::new(letter, MarkKind::Redriven, Some(record), Some(&event));
    prepared.audit.generation = next;
    Ok(prepared)
}

/// Whether the record of a letter can be corrected.
///
/// # Errors
/// Why not.
pub(super) fn can_be_corrected(context: &Context, letter: &Letter<'_>) -> Result<(), String> {
    if letter.head.delivery.is_some() {
        let why = "only a dead letter of a whole record can be corrected: this one is of a delivery, which is made again as its \
                   event was published";
        return Err(why.to_owned());
    }
    origin(context, letter).map(drop)
}

/// Makes the record that is published in the place of a whole one: with another value.
///
/// # Errors
/// Why it is not.
pub(super) fn corrected(context: &Context, letter: &Letter<'_>, value: Vec<u8>) -> Result<Prepared, String> {
    can_be_corrected(context, letter)?;
    let (topic, ..) = origin(context, letter)?;
    let event = letter.event(&context.limits, Some(&value)).map_err(|poison| format!("it is no event: {poison}"))?;
    let is_native = event.dialect() == Dialect::Native;
    let mut headers = letter.headers_again();
    for (name, value) in &mut headers {
        // They repeat what the value says.
        match name.as_str() {
            "event_id" if is_native => *value = Some(event.id().as_bytes().to_vec()),
            "event_type" if is_native => *value = Some(event.event_type().as_str().as_bytes().to_vec()),
            _ => {}
        }
    }
    let key = if is_native { Some(event.key().into_bytes()) } else { letter.key.map(<[u8]>::to_vec) };
    let record = Outgoing { topic: topic.to_owned(), partition: None, key, value: Some(value), headers };
    fits(&context.limits, &record)?;
    Ok(Prepared::new(letter, MarkKind::Redriven, Some(record), Some(&event)))
}

/// Whether a bridge with these limits reads it as an event: it has more headers than the record of the letter.
fn fits(limits: &Limits, record: &Outgoing) -> Result<(), String> {
    let checked = limits.check(&record.size());
    checked.map_err(|poison| format!("with the headers of a redrive it is too large for the bridges: {poison}"))
}

/// Where its record was read: a letter must not choose any topic.
fn origin<'a>(context: &Context, letter: &Letter<'a>) -> Result<(&'a str, i32, i64), String> {
    if letter.head.is_cut {
        return Err("a part of its record did not fit the dead-letter topic: publish the event again from its source \
                    under a new event_id, and raise the topic's max.message.bytes"
            .to_owned());
    }
    let topics = &context.config.kafka.topics;
    letter.head.origin.filter(|(topic, ..)| topics.iter().any(|known| known == topic)).ok_or_else(|| {
        format!("it does not name the place of its record in one of the topics {}: see --topic", topics.join(", "))
    })
}

/// Which time the delivery of a letter was made.
fn made(head: &LetterHead<'_>) -> Result<Generation, String> {
    head.unreadable.map_or(Ok(head.generation), |name| {
        Err(format!(
            "its header {name} is no number, so which time its delivery was made is not known: send it again with \
             `replay --deliver --again N`, or publish the event under a new event_id"
        ))
    })
}

/// Whether publishing the record of such a letter again, as it was, may do any good.
fn whole_record(reason: &str, is_forced: bool) -> Result<(), String> {
    match reason {
        "id_conflict" => Err("its event_id belongs to another event: give it one of its own with --edit".to_owned()),
        "redrive_refused" => {
            Err("it asked for a redrive, and does not say of which delivery: redrive the first dead letter \
                                  of the event"
                .to_owned())
        }
        "ledger_record" if !is_forced => {
            Err("what was delivered of it is not known: find out whether the agents have \
                                              it; --force publishes it again"
                .to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_does_not_say_which_time_its_delivery_was_made_is_not_redriven() {
        let generation = Generation { again: 2, number: 1 };
        let mut head = LetterHead { generation, ..LetterHead::default() };
        assert_eq!(made(&head), Ok(generation));
        head.unreadable = Some("dlq-again");
        let error = made(&head).unwrap_err();
        assert!(error.starts_with("its header dlq-again is no number"), "{error}");
    }

    #[test]
    fn a_record_is_published_only_if_the_bridges_read_it_with_its_new_headers() {
        let with = |headers: usize| Outgoing {
            topic: "events".into(),
            partition: Some(0),
            key: None,
            value: Some(b"{}".to_vec()),
            headers: vec![("h".to_owned(), None); headers],
        };
        let request = RedriveRequest { rule: "r".into(), agent: "a".into(), generation: 1.into(), is_forced: true };
        for (headers, is_taken) in [(995, true), (996, true), (997, false), (1_000, false)] {
            let mut record = with(headers);
            record.headers.extend(request.headers());
            assert_eq!(fits(&Limits::default(), &record).is_ok(), is_taken, "{headers}");
        }
        let error = fits(&Limits::new(100, 1 << 20), &with(200)).unwrap_err();
        assert!(error.contains("redrive") && error.contains("max_record_bytes"), "{error}");
    }
}
