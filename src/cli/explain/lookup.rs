//! `explain --id` and `explain --workflow --run`: what became of events, from whoever knows it.
//!
//! For an id, a bridge that runs here is asked first; the events of a run are looked for in the topic first. What the bridge does
//! not know for sure is looked for in Kafka: the record in the topic, its deliveries in the ledger topic, dead letters in theirs.
//! So any machine answers, whichever replica has the partition.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    fate::{self, Known},
    found::{Found, Place, Wanted},
    search::{InTopics, Letter, Letters, Search, SearchError},
    text,
};
use crate::{
    bridge::{Exit, LedgerLookup},
    cli::{
        ask::ask,
        interrupt::Interrupt,
        logging,
        output::{self, MAX_CHARS, fail},
    },
    config::Config,
    kafka::ScanError,
    routing::Routing,
    yaml::excerpt,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The most events of a run for which the bridge here is asked.
const MAX_ASKED: usize = 50;

/// What is asked for, and how.
pub(super) struct Asked<'a> {
    pub(super) wanted: Wanted,
    pub(super) config: &'a Config,
    pub(super) since: Timestamp,
    pub(super) is_everywhere: bool,
    pub(super) as_json: bool,
    /// The rules, or why they are not known.
    pub(super) routing: Result<Routing, String>,
}

/// What the ledger topic says.
struct Ledger {
    lookup: LedgerLookup,
    topic: String,
    /// Why it says nothing.
    missing: Option<String>,
}

/// Answers, and gives the exit code: 65 when nothing is known.
pub(super) fn main(asked: &Asked<'_>) -> ExitCode {
    logging::install(asked.config.log_format, "warn");
    let answered = match &asked.wanted {
        Wanted::Event(id) => from_bridge(&asked.config.admin_addr, id),
        Wanted::Run { .. } => Err(String::new()),
    };
    if let Ok(page) = &answered
        && is_last_word(page)
        && !has_dead_delivery(page)
        && !has_conflicts(page)
    {
        print(asked, page);
        return ExitCode::SUCCESS;
    }
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(code) => return code,
    };
    let search = Search::new(asked.config, asked.since, interrupt);
    match search.map_err(SearchError::from).and_then(|search| look(asked, &search, answered.as_ref().ok())) {
        Ok((page, is_known)) => {
            print(asked, &page);
            if is_known { ExitCode::SUCCESS } else { Exit::Data.into() }
        }
        Err(SearchError::Interrupted(code)) => code,
        Err(SearchError::Kafka(error)) => without_kafka(asked, answered, &error),
    }
}

/// Adds to what the bridge here has answered what Kafka knows.
fn look(asked: &Asked<'_>, search: &Search<'_>, answered: Option<&Value>) -> Result<(Value, bool), SearchError> {
    if answered.is_some() {
        search.reach()?;
    }
    match (answered, &asked.wanted) {
        // Where the letter is and what it says is all that the bridge does not know.
        (Some(page), Wanted::Event(id)) if is_last_word(page) && !has_conflicts(page) => {
            let letters =
                search.letters(&|letter| letter.delivery.is_some() && letter.event_id.as_ref() == Some(id))?;
            let mut page = page.clone();
            page["dead_letters"] = letters.kept.iter().map(fate::letter_json).collect();
            page["dead_letters_not_kept"] = letters.left_out.into();
            Ok((page, true))
        }
        _ => from_kafka(asked, search, answered),
    }
}

/// The bridge's answer stands, with what it could not look at.
fn without_kafka(asked: &Asked<'_>, answered: Result<Value, String>, error: &ScanError) -> ExitCode {
    match answered {
        Ok(page) => {
            print(asked, &page);
            output::warnings(&[format!("only the bridge here was asked: {error}")]);
            if page["state"] == "unknown" { Exit::Data.into() } else { ExitCode::SUCCESS }
        }
        Err(why) if why.is_empty() => fail(Exit::Unavailable, error),
        Err(why) => fail(Exit::Unavailable, &format_args!("{why}\nworkflow-bridge: nor does Kafka answer: {error}")),
    }
}

fn print(asked: &Asked<'_>, page: &Value) {
    if asked.as_json {
        output::result(format_args!("{}", output::json(page)));
    } else {
        output::result(format_args!("{}", text::describe(page)));
    }
}

/// What the bridge at this address knows of an event.
fn from_bridge(admin_addr: &str, event_id: &str) -> Result<Value, String> {
    if !is_addressable(event_id) {
        return Err(format!("the bridge was not asked: an address cannot contain the id {event_id:?}"));
    }
    let (status, text) = ask(admin_addr, &["api", "events", event_id], TIMEOUT)?;
    let page = serde_json::from_str::<Value>(&text).ok().filter(|page| page["event_id"] == event_id);
    let mut page = page.ok_or_else(|| {
        format!("{admin_addr} answered with status {status} and not about this event: is it a bridge of this version?")
    })?;
    if let Some(error) = page["error"].as_str() {
        return Err(format!("{admin_addr}: {}", excerpt(error, MAX_CHARS)));
    }
    page["known_from"] = format!("the bridge at {admin_addr}").into();
    Ok(page)
}

/// Whether it can be a part of a path: these two are taken for folders, also when they are escaped.
fn is_addressable(event_id: &str) -> bool {
    ![".", ".."].contains(&event_id)
}

/// Whether nobody else can know more.
fn is_last_word(page: &Value) -> bool {
    page["state"] != "unknown" && page["note"].is_null()
}

/// Whether the page is about the record that was found.
fn is_at(page: &Value, event: &Found) -> bool {
    let Place { topic, partition, offset } = &event.place;
    page["source"]["topic"] == **topic
        && page["source"]["partition"] == *partition
        && page["source"]["offset"] == *offset
}

/// Whether the bridge has read another event with this id.
fn has_conflicts(page: &Value) -> bool {
    page["conflicts"].as_u64().is_some_and(|conflicts| conflicts > 0)
}

/// Whether several events have the id that is asked for: which of them the ledger knows is not known yet.
fn is_shared(asked: &Asked<'_>, found: &InTopics) -> bool {
    matches!(asked.wanted, Wanted::Event(_)) && found.events.len() > 1
}

fn has_dead_delivery(page: &Value) -> bool {
    page["deliveries"].as_array().into_iter().flatten().any(|delivery| delivery["status"] == "dead_lettered")
}

/// The page, and whether anything is known.
fn from_kafka(asked: &Asked<'_>, search: &Search<'_>, answered: Option<&Value>) -> Result<(Value, bool), SearchError> {
    let routing = asked.routing.as_ref().ok();
    let found = search.events(&asked.wanted, routing, asked.is_everywhere)?;
    output::warnings(found.no_committed.as_slice());
    let mut pages = from_bridges(asked, &found.events, answered);
    let ledger = ledger(asked, search, &found, &pages)?;
    for (page, event) in pages.iter_mut().zip(&found.events) {
        if page.as_ref().is_none_or(|(page, _)| !is_last_word(page))
            && let Some(known) = ledger.lookup.page(&event.event_id, routing)
        {
            *page = Some((known, format!("the ledger topic {}", ledger.topic)));
        }
    }
    let letters = letters(search, &found, &pages, is_shared(asked, &found))?;
    let mut events = Vec::with_capacity(pages.len());
    for (page, event) in pages.into_iter().zip(&found.events) {
        let committed = found.committed.get(&(event.place.topic.clone(), event.place.partition));
        let known = Known {
            page: page.filter(|(page, _)| page["state"] != "unknown"),
            is_another: ledger.lookup.is_another(&event.event_id, event.digest),
            committed: committed.copied().flatten(),
            no_committed: found.no_committed.as_deref().filter(|_| committed.is_none()),
            letters: letters.as_ref().map(|letters| &*letters.kept),
            no_rules: asked.routing.as_ref().err().map(String::as_str),
            no_ledger: ledger.missing.as_deref(),
        };
        events.push(fate::page(event, &known));
    }
    Ok(summary(asked, &found, events, letters.as_ref(), &ledger))
}

/// The page of each event as the bridge here knows it.
fn from_bridges(asked: &Asked<'_>, events: &[Found], answered: Option<&Value>) -> Vec<Option<(Value, String)>> {
    let from = |page: &Value| page["known_from"].as_str().unwrap_or_default().to_owned();
    let mut is_there = true;
    let ask = |event: &Found| {
        if answered.is_some() || matches!(asked.wanted, Wanted::Event(_)) {
            return answered.map(|page| (page.clone(), from(page)));
        }
        // No address can contain such an id: it says nothing of the bridge.
        let is_asked = is_there && is_addressable(&event.event_id);
        let page = if is_asked { from_bridge(&asked.config.admin_addr, &event.event_id).ok() } else { None };
        is_there &= page.is_some() || !is_asked;
        // Another event with the same id is at another place: the ledger topic tells whether it was the first.
        page.filter(|page| page["source"].is_null() || is_at(page, event)).map(|page| {
            let from = from(&page);
            (page, from)
        })
    };
    let mut pages: Vec<_> = events.iter().take(MAX_ASKED).map(ask).collect();
    pages.resize(events.len(), None);
    pages
}

/// Reads the ledger topic when somebody else than the bridge here may know more.
fn ledger(
    asked: &Asked<'_>,
    search: &Search<'_>,
    found: &InTopics,
    pages: &[Option<(Value, String)>],
) -> Result<Ledger, SearchError> {
    let is_shared = is_shared(asked, found);
    let is_open =
        |page: &Option<(Value, String)>| is_shared || page.as_ref().is_none_or(|(page, _)| !is_last_word(page));
    let open: Vec<&Found> =
        found.events.iter().zip(pages).filter(|(_, page)| is_open(page)).map(|(event, _)| event).collect();
    let mut ids: Vec<String> = open.iter().map(|event| event.event_id.clone()).collect();
    let mut partitions: BTreeSet<i32> = open.iter().map(|event| event.place.partition).collect();
    if let (Wanted::Event(id), true) = (&asked.wanted, found.events.is_empty()) {
        // The topic may have lost it already.
        ids.push(id.clone());
        partitions.clear();
    }
    let mut ledger = Ledger {
        lookup: LedgerLookup::new(&asked.config.kafka.group_id, ids.iter().cloned()),
        topic: asked.config.ledger_topic.clone().unwrap_or_default(),
        missing: None,
    };
    if asked.config.ledger_topic.is_none() {
        ledger.missing = Some("dedup.ledger_topic is off: ask the bridge that has the partition (--admin)".to_owned());
    } else if !ids.is_empty() {
        let partitions: Vec<i32> = partitions.into_iter().collect();
        match search.ledger(&ledger.topic, &partitions, &mut ledger.lookup) {
            Ok(()) if ledger.lookup.has_later() => {
                let later = "a later version of the bridge has written to it: explain with that version";
                ledger.missing = Some(later.to_owned());
            }
            Ok(()) => {}
            Err(SearchError::Kafka(ScanError::NoTopic(topic))) => {
                let group = &asked.config.kafka.group_id;
                let why = format!(
                    "there is no topic {topic}: check that the group is {group} (--group), and dedup.ledger_topic"
                );
                ledger.missing = Some(why);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ledger)
}

/// The dead letters, when there may be some.
fn letters(
    search: &Search<'_>,
    found: &InTopics,
    pages: &[Option<(Value, String)>],
    is_shared: bool,
) -> Result<Option<Letters>, SearchError> {
    let has_dead = |page: &Value| page["state"] == "unknown" || has_dead_delivery(page);
    let may_have = |page: &Option<(Value, String)>| page.as_ref().is_none_or(|(page, _)| has_dead(page));
    if !is_shared && found.poison.is_empty() && !pages.iter().any(may_have) {
        return Ok(None);
    }
    let is_meant = |letter: &Letter| {
        found.events.iter().any(|event| fate::is_of(letter, event))
            || found.poison.iter().any(|record| letter.origin.as_ref() == Some(&record.place))
    };
    search.letters(&is_meant).map(Some)
}

/// What is printed, and whether anything is known.
fn summary(
    asked: &Asked<'_>,
    found: &InTopics,
    mut events: Vec<Value>,
    letters: Option<&Letters>,
    ledger: &Ledger,
) -> (Value, bool) {
    let (kept, left_out) = (letters.map(|letters| &*letters.kept), letters.map_or(0, |letters| letters.left_out));
    let committed = |place: &Place| found.committed.get(&(place.topic.clone(), place.partition)).copied().flatten();
    let poison: Vec<Value> =
        found.poison.iter().map(|record| fate::poison(record, committed(&record.place), kept)).collect();
    let is_known = !events.is_empty() || !poison.is_empty();
    let topics = asked.config.kafka.topics.join(", ");
    let partitions = if found.is_of_key { "in the partition of its key" } else { "in all partitions" };
    let read = format!("{} records of {topics} since {}, {partitions}", found.records, asked.since);
    match &asked.wanted {
        Wanted::Event(_) if events.len() == 1 && poison.is_empty() => {
            let mut page = events.remove(0);
            page["dead_letters_not_kept"] = left_out.into();
            (page, true)
        }
        Wanted::Event(id) if !is_known => {
            if let Some(mut page) = ledger.lookup.page(id, asked.routing.as_ref().ok()) {
                page["known_from"] = format!("the ledger topic {}", ledger.topic).into();
                page["note"] = format!("its record is not among the {read}").into();
                return (page, true);
            }
            let why = ledger.missing.as_ref().map(|why| format!("; the ledger topic was not read: {why}"));
            let note = format!(
                "no such id within the window: it is not among the {read}, and the ledger topic has nothing of it{}. --since \
                 looks further back",
                why.unwrap_or_default()
            );
            (json!({"event_id": id, "state": "unknown", "deliveries": [], "read": read, "note": note}), false)
        }
        wanted => {
            let note = (!is_known).then(|| format!("no event of it is among the {read}: --since looks further back"));
            let of_key = "events with other keys in other partitions were not looked for: --all-partitions does";
            let note = note.or_else(|| found.is_of_key.then(|| of_key.to_owned()));
            let mut page = json!({
                "events": events, "poison": poison, "records_not_kept": found.left_out,
                "poison_not_kept": found.poison_left_out, "dead_letters_not_kept": left_out, "read": read, "note": note,
            });
            match wanted {
                Wanted::Event(id) => page["event_id"] = (&**id).into(),
                Wanted::Run { workflow, run } => {
                    page["workflow_id"] = (&**workflow).into();
                    page["workflow_run_id"] = (&**run).into();
                }
            }
            (page, is_known)
        }
    }
}
