//! How runs are read, and how the delivery's own run is recognized among them.
//!
//! Its invariant: a list takes the same memory however many runs it has. It reads `run_id`, `thread_id` and
//! what identifies a run's delivery (see [`Run::is_of`]), and no other field.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, SeqAccess, Visitor},
};
use uuid::Uuid;

use super::lenient::{Object, Short};

/// The fields of a run that may identify its delivery.
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

/// `delivery_id`, which api.rs puts on a run and never on a thread, so that no run inherits it.
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
    fn marks(&self) -> impl Iterator<Item = (MarkFields, &str)> {
        let inner = self.kwargs.0.as_ref().and_then(|kwargs| kwargs.config.0.as_ref());
        let configs =
            [self.config.0.as_ref(), inner].map(|config| config.and_then(|config| config.metadata.0.as_ref()));
        let values = [self.metadata.0.as_ref(), configs[0], configs[1]];
        values
            .into_iter()
            .enumerate()
            .filter_map(|(bit, mark)| Some((MarkFields(1 << bit), mark?.delivery_id.0.as_deref()?)))
    }

    fn event_ids(&self) -> impl Iterator<Item = &str> {
        let inner = self.kwargs.0.as_ref().and_then(|kwargs| kwargs.input.0.as_ref());
        let inputs = [self.input.0.as_ref(), inner];
        inputs.into_iter().flatten().filter_map(|input| input.event.0.as_ref()?.event_id.0.as_deref())
    }

    /// Whether it is a run of this delivery: by its mark in `metadata`, `config.metadata` or
    /// `kwargs.config.metadata`, or by an input whose `event` is this one. Another input proves
    /// nothing: the template may have changed since.
    fn is_of(&self, delivery_id: &str, event_id: &str) -> bool {
        self.marks().any(|(_, mark)| mark == delivery_id) || self.event_ids().any(|id| id == event_id)
    }

    /// The fields in which it shows what a run was given.
    fn fields(&self) -> MarkFields {
        let config = self.kwargs.0.as_ref().is_some_and(|kwargs| kwargs.config.0.is_some());
        MarkFields::of([self.metadata.0.is_some(), self.config.0.is_some(), config])
    }
}

/// The fields of a run in which a server may show its mark: `metadata`, `config`, `kwargs.config`, a bit each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MarkFields(u8);

impl MarkFields {
    /// How many sets of fields there are.
    const COMBINATIONS: usize = 8;

    fn of(shown: [bool; 3]) -> Self {
        Self(shown.into_iter().enumerate().map(|(bit, shown)| u8::from(shown) << bit).sum())
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn intersects(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// Runs that are not shown to be ours: only the last one for each set of fields, so that any number of them
/// takes the same memory.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct OtherRuns([Option<String>; MarkFields::COMBINATIONS]);

impl OtherRuns {
    fn add(&mut self, fields: MarkFields, run_id: String) {
        self.0[usize::from(fields.0)] = Some(run_id);
    }

    /// Adds those of another page.
    pub(super) fn extend(&mut self, others: Self) {
        for (mine, other) in self.0.iter_mut().zip(others.0) {
            *mine = other.or(mine.take());
        }
    }

    /// One that may be ours after all: it shows none of `mark_fields`, in which this server shows the marks of
    /// our runs. A run that shows one of them without our mark is not ours.
    pub(super) fn maybe_ours(&self, mark_fields: MarkFields) -> Option<(MarkFields, &str)> {
        let sets = (0_u8..).map(MarkFields).zip(&self.0);
        sets.filter(|(fields, _)| !fields.intersects(mark_fields))
            .find_map(|(fields, run_id)| Some((fields, run_id.as_deref()?)))
    }
}

/// What a page of runs shows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct RunPage {
    /// A run of this delivery.
    pub ours: Option<String>,
    /// The others.
    pub others: OtherRuns,
    /// The fields in which the mark of any delivery was seen.
    pub mark_fields: MarkFields,
    /// The first run: identifies the page.
    pub first: Option<String>,
    /// How many there were.
    pub count: usize,
}

struct PageReader<'a> {
    thread: Uuid,
    delivery_id: &'a str,
    event_id: &'a str,
}

impl<'de> DeserializeSeed<'de> for PageReader<'_> {
    type Value = RunPage;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<RunPage, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PageReader<'_> {
    type Value = RunPage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of runs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RunPage, A::Error> {
        let mut page = RunPage::default();
        while let Some(run) = items.next_element::<Run>()? {
            let thread = run.thread_id.uuid();
            let (ours, fields) = (run.is_of(self.delivery_id, self.event_id), run.fields());
            page.mark_fields.0 |= run.marks().fold(0, |mark_fields, (field, _)| mark_fields | field.0);
            let Some(run_id) = run.run_id.0 else { return Err(A::Error::custom("a run without a run_id")) };
            page.first.get_or_insert_with(|| run_id.clone());
            page.count += 1;
            if thread.is_some_and(|thread| thread != self.thread) {
                continue;
            }
            if ours {
                page.ours = Some(run_id);
            } else {
                page.others.add(fields, run_id);
            }
        }
        Ok(page)
    }
}

/// A page of the runs of `thread`, which is a delivery's. `None` if the body is no list of runs.
pub(super) fn page(body: &[u8], thread: Uuid, event_id: &str) -> Option<RunPage> {
    let mut from = serde_json::Deserializer::from_slice(body);
    let delivery_id = thread.to_string();
    let page = PageReader { thread, delivery_id: &delivery_id, event_id }.deserialize(&mut from).ok()?;
    from.end().ok()?;
    Some(page)
}

/// Whether the body is a run of `thread`'s delivery.
pub(super) fn is_ours(body: &[u8], thread: Uuid, event_id: &str) -> bool {
    let run: Option<Run> = serde_json::from_slice(body).ok();
    run.is_some_and(|run| {
        run.thread_id.uuid().is_none_or(|shown| shown == thread) && run.is_of(&thread.to_string(), event_id)
    })
}

#[cfg(test)]
mod tests;
