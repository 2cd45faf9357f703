//! How the answers of a LangGraph server are read.
//!
//! Its invariant: what is kept of an answer is a few short strings, whatever the answer holds: the
//! rest is skipped by the parser and never becomes a value. It reads these fields and no other:
//! of a thread `thread_id` and `metadata.nonce`; of a run `run_id`, `thread_id`, and what tells who
//! started it, for which see [`Run::is_of`]; of an error its text. It does not know what follows from them.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use uuid::Uuid;

/// The longest id that is read, in bytes. A longer one is none.
const MAX_ID: usize = 256;

/// A string of at most [`MAX_ID`] bytes; any other value is skipped and reads as `None`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Short(Option<String>);

/// An object with the fields of `T`; any other value is skipped and reads as `None`.
#[derive(Debug, Clone)]
struct Object<T>(Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// Takes any value: `T` from a string or an object, where it can, and nothing from the others.
struct Lenient<T>(PhantomData<T>);

trait FromAny: Sized + Default {
    fn from_text(_: &str) -> Self {
        Self::default()
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Self::default())
    }
}

impl FromAny for Short {
    fn from_text(text: &str) -> Self {
        Self((text.len() <= MAX_ID && !text.is_empty()).then(|| text.to_owned()))
    }
}

impl<T: for<'de> Deserialize<'de>> FromAny for Object<T> {
    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|object| Self(Some(object)))
    }
}

impl<'de, T: FromAny> Visitor<'de> for Lenient<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::from_text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        IgnoredAny.visit_seq(items).map(|_| T::default())
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }
}

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Lenient(PhantomData))
    }
}

impl<'de, T: for<'a> Deserialize<'a>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Lenient(PhantomData))
    }
}

impl Short {
    fn uuid(&self) -> Option<Uuid> {
        self.0.as_ref().and_then(|text| text.parse().ok())
    }
}

/// A thread, as the server shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thread {
    /// Who made it; `None` when that was no bridge, or is not shown.
    pub nonce: Option<Uuid>,
}

#[derive(Deserialize)]
struct ThreadFields {
    #[serde(default)]
    thread_id: Short,
    #[serde(default)]
    metadata: Object<Nonce>,
}

#[derive(Deserialize)]
struct Nonce {
    #[serde(default)]
    nonce: Short,
}

/// The thread that a claim or a question about it was answered with, when it is the one expected.
pub(super) fn thread(body: &[u8], expected: Uuid) -> Option<Thread> {
    let fields: ThreadFields = serde_json::from_slice(body).ok()?;
    if fields.thread_id.uuid()? != expected {
        return None;
    }
    Some(Thread { nonce: fields.metadata.0.and_then(|metadata| metadata.nonce.uuid()) })
}

/// The mark of a run, wherever a server shows it, and what else names the event.
#[derive(Deserialize)]
struct Run {
    #[serde(default)]
    run_id: Short,
    #[serde(default)]
    thread_id: Short,
    #[serde(default)]
    metadata: Object<Mark>,
    #[serde(default)]
    config: Object<Config>,
    #[serde(default)]
    input: Object<Input>,
    #[serde(default)]
    kwargs: Object<Kwargs>,
}

/// `delivery_id`, which wording.rs puts on a run and never on a thread, so that no run inherits it.
#[derive(Deserialize)]
struct Mark {
    #[serde(default)]
    delivery_id: Short,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    metadata: Object<Mark>,
}

#[derive(Deserialize)]
struct Kwargs {
    #[serde(default)]
    config: Object<Config>,
    #[serde(default)]
    input: Object<Input>,
}

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    event: Object<EventId>,
}

#[derive(Deserialize)]
struct EventId {
    #[serde(default)]
    event_id: Short,
}

impl Run {
    fn marks(&self) -> impl Iterator<Item = (Places, &str)> {
        let inner = self.kwargs.0.as_ref().and_then(|kwargs| kwargs.config.0.as_ref());
        let configs =
            [self.config.0.as_ref(), inner].map(|config| config.and_then(|config| config.metadata.0.as_ref()));
        let places = [self.metadata.0.as_ref(), configs[0], configs[1]];
        places
            .into_iter()
            .enumerate()
            .filter_map(|(bit, mark)| Some((Places(1 << bit), mark?.delivery_id.0.as_deref()?)))
    }

    fn event_ids(&self) -> impl Iterator<Item = &str> {
        let inner = self.kwargs.0.as_ref().and_then(|kwargs| kwargs.input.0.as_ref());
        let inputs = [self.input.0.as_ref(), inner];
        inputs.into_iter().flatten().filter_map(|input| input.event.0.as_ref()?.event_id.0.as_deref())
    }

    /// Whether it is a run of this delivery: by its mark in `metadata`, `config.metadata` or
    /// `kwargs.config.metadata`, or by an input whose `event` is this one. That an input differs says
    /// nothing: a template may have changed since.
    fn is_of(&self, delivery_id: &str, event_id: &str) -> bool {
        self.marks().any(|(_, mark)| mark == delivery_id) || self.event_ids().any(|id| id == event_id)
    }

    /// Where it shows what a run was given.
    fn shows(&self) -> Places {
        let config = self.kwargs.0.as_ref().is_some_and(|kwargs| kwargs.config.0.is_some());
        Places::of([self.metadata.0.is_some(), self.config.0.is_some(), config])
    }
}

/// Places in which a server may show what a run was given: `metadata`, `config`, `kwargs.config`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places(u8);

impl Places {
    /// How many sets of places there are.
    const SETS: usize = 8;

    fn of(places: [bool; 3]) -> Self {
        Self(places.into_iter().enumerate().map(|(bit, there)| u8::from(there) << bit).sum())
    }

    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn meets(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// Runs that are not shown to be ours: the last one for each set of places that it shows, so that any
/// number of them takes the same room.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Strangers([Option<String>; Places::SETS]);

impl Strangers {
    fn add(&mut self, shows: Places, run_id: String) {
        self.0[usize::from(shows.0)] = Some(run_id);
    }

    /// With those of another page.
    pub fn extend(&mut self, others: Self) {
        for (mine, other) in self.0.iter_mut().zip(others.0) {
            *mine = other.or(mine.take());
        }
    }

    /// One that may be ours after all: it shows none of `marked`, the places in which this server shows
    /// the marks of our runs. Where it shows one of them, our mark is not there, and so it is another's.
    pub fn maybe_ours(&self, marked: Places) -> Option<(Places, &str)> {
        let sets = (0_u8..).map(Places).zip(&self.0);
        sets.filter(|(shows, _)| !shows.meets(marked)).find_map(|(shows, run_id)| Some((shows, run_id.as_deref()?)))
    }
}

/// What a page of runs showed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// A run of this delivery.
    pub ours: Option<String>,
    /// The others.
    pub strangers: Strangers,
    /// Where the mark of a delivery, whichever, was seen.
    pub marked: Places,
    /// The first run: how a page is known again.
    pub first: Option<String>,
    /// How many there were.
    pub count: usize,
}

struct Runs<'a> {
    thread: Uuid,
    delivery_id: &'a str,
    event_id: &'a str,
}

impl<'de> DeserializeSeed<'de> for Runs<'_> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Page, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Runs<'_> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of runs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        while let Some(run) = items.next_element::<Run>()? {
            let thread = run.thread_id.uuid();
            let (ours, shows) = (run.is_of(self.delivery_id, self.event_id), run.shows());
            page.marked.0 |= run.marks().fold(0, |marked, (place, _)| marked | place.0);
            let Some(run_id) = run.run_id.0 else { return Err(A::Error::custom("a run without a run_id")) };
            page.first.get_or_insert_with(|| run_id.clone());
            page.count += 1;
            if thread.is_some_and(|thread| thread != self.thread) {
                continue;
            }
            if ours {
                page.ours = Some(run_id);
            } else {
                page.strangers.add(shows, run_id);
            }
        }
        Ok(page)
    }
}

/// A page of the runs of `thread`, as the delivery sees it. `None` when it is no list of runs.
pub(super) fn runs(body: &[u8], thread: Uuid, event_id: &str) -> Option<Page> {
    let mut from = serde_json::Deserializer::from_slice(body);
    let delivery_id = thread.to_string();
    let page = Runs { thread, delivery_id: &delivery_id, event_id }.deserialize(&mut from).ok()?;
    from.end().ok()?;
    Some(page)
}

/// Whether this is a run of `thread`'s delivery, where a server shows a single run.
pub(super) fn is_ours(body: &[u8], thread: Uuid, event_id: &str) -> bool {
    let run: Option<Run> = serde_json::from_slice(body).ok();
    run.is_some_and(|run| {
        run.thread_id.uuid().is_none_or(|shown| shown == thread) && run.is_of(&thread.to_string(), event_id)
    })
}

/// The run that was created, when the answer is one, and of that thread. A server repeats the whole
/// input in this answer, so it may be cut short: then both ids must have come before the cut.
pub(super) fn created(body: &[u8], thread: Uuid) -> Option<String> {
    let mut seen = Created::default();
    let mut from = serde_json::Deserializer::from_slice(body);
    let cut = match (&mut seen).deserialize(&mut from).and_then(|()| from.end()) {
        Ok(()) => false,
        Err(error) if error.is_eof() => true,
        Err(_) => return None,
    };
    let of_thread = match &seen.thread_id {
        Some(id) => id.uuid() == Some(thread),
        None => !cut,
    };
    seen.run_id.0.filter(|_| of_thread)
}

#[derive(Default)]
struct Created {
    run_id: Short,
    thread_id: Option<Short>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum CreatedKey {
    RunId,
    ThreadId,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for &mut Created {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Created {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            match key {
                CreatedKey::RunId => self.run_id = map.next_value()?,
                CreatedKey::ThreadId => self.thread_id = Some(map.next_value()?),
                CreatedKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The text of an error: `detail` or `message` of an object, where it is a string, or the body as it
/// stands. The body is bounded by the reader.
pub(super) fn detail(body: &[u8]) -> String {
    error_text(body).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

fn error_text(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default)]
        detail: Text,
        #[serde(default)]
        message: Text,
    }
    let fields = serde_json::from_slice::<Object<Fields>>(body).ok()?.0?;
    fields.detail.0.or(fields.message.0)
}

/// A string of any length, for texts: the body's limit bounds it.
#[derive(Debug, Default)]
struct Text(Option<String>);

impl FromAny for Text {
    fn from_text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Lenient(PhantomData))
    }
}

/// Whether a 404 is the server's own, and not of a proxy that knows no such path. Measured: `Thread with
/// ID <id> not found` (LangGraph, as JSON; LangGraph.js, as plain text), `Thread '<id>' not found` in
/// `message` (aegra). Read wrongly it costs a request: creating the thread is what decides.
pub(super) fn is_no_thread(body: &[u8]) -> bool {
    let text = error_text(body).is_some();
    let plain = String::from_utf8_lossy(&body[..body.len().min(MAX_ID)]).trim_start().to_lowercase();
    text || (plain.starts_with("thread") && plain.contains("not found"))
}

/// Whether a 422 says that the thread is busy, as LangGraph.js does: `Thread is already running a task.
/// Wait for it to finish or choose a different multitask strategy.` Only the beginning counts: what
/// follows may repeat the event.
pub(super) fn is_busy(detail: &str) -> bool {
    detail.trim_start().to_lowercase().starts_with("thread is already running")
}

/// Whether a 422 or a 404 says that there is no such assistant. Only the beginning counts: what follows
/// may repeat the event. Measured: `Invalid assistant: 'x'. Must be either: ...` (LangGraph), `Assistant
/// 'x' not found` (aegra), `No assistant found for "x"` (LangGraph.js).
pub(super) fn is_unknown_assistant(detail: &str) -> bool {
    let detail = detail.trim_start().to_lowercase();
    let says = [
        "invalid assistant",
        "unknown assistant",
        "no such assistant",
        "no assistant found",
        "assistant not found",
        "unknown graph",
    ];
    let names = ["assistant ", "graph "];
    says.iter().any(|text| detail.starts_with(text))
        || (names.iter().any(|text| detail.starts_with(text))
            && detail.chars().take(200).collect::<String>().contains("not found"))
}

#[cfg(test)]
mod tests;
