//! The budgets of one render: work and memory, charged before they are spent.
//!
//! Its invariant: work that grows with data is charged here before it is done, so a render ends within its budgets
//! whatever the event and the template are. The
//! engine's own fuel counts instructions only; this counts the work of an instruction.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use minijinja::{
    Error, ErrorKind, State, Value as Dynamic,
    value::{Object, ValueKind},
};

/// The variable that holds the meter; templates cannot use names with this prefix.
pub(super) const METER: &str = "__meter";

/// The most bytes that one template may render to.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// Units of work for one render: about a nanosecond each.
pub(super) const WORK: u64 = 512 << 20;

/// Bytes that one render may allocate in total, freed again or not.
pub(super) const MEMORY: u64 = 128 << 20;

/// The work of reading one value of a list or a map.
pub(super) const NODE: u64 = 64;

/// The memory of one value of a list.
pub(super) const SLOT: u64 = 32;

/// The most bytes that one byte of a text becomes when it is printed within a list: `\x7f`.
const ESCAPED: u64 = 4;

/// The work of an instruction of the engine.
pub(super) const INSTRUCTION: u64 = 100;

/// The fixed work of rendering a leaf.
pub(super) const LEAF: u64 = 5_000;

/// The deepest nesting of a value: more than an event can have.
pub(super) const MAX_DEPTH: usize = 256;

/// The budgets of one render. Atomic because the engine shares its values, not because threads do.
#[derive(Debug)]
pub(super) struct Meter {
    work: AtomicU64,
    memory: AtomicU64,
}

impl Object for Meter {}

/// The detail of the engine's error when a budget is used up.
pub(super) const TOO_MUCH_WORK: &str = "the template does too much work with this event";
pub(super) const TOO_MUCH_MEMORY: &str = "the template needs too much memory with this event";

impl Meter {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { work: AtomicU64::new(WORK), memory: AtomicU64::new(MEMORY) })
    }

    /// The meter of the render that `state` belongs to.
    pub(super) fn of(state: &State<'_, '_>) -> Result<MeterRef, Error> {
        state
            .lookup(METER)
            .filter(|value| value.downcast_object_ref::<Self>().is_some())
            .map(MeterRef)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "a render without a meter"))
    }

    /// Takes work from the budget, before it is done.
    pub(super) fn work(&self, units: u64) -> Result<(), Error> {
        take(&self.work, units, TOO_MUCH_WORK)
    }

    /// Takes memory from the budget, before it is allocated; writing it is work too.
    pub(super) fn memory(&self, bytes: u64) -> Result<(), Error> {
        take(&self.memory, bytes, TOO_MUCH_MEMORY)?;
        self.work(bytes)
    }

    /// Whether a budget is used up.
    pub(super) fn is_exhausted(&self) -> bool {
        self.work.load(Ordering::Relaxed) == 0 || self.memory.load(Ordering::Relaxed) == 0
    }

    /// Reads a value completely and charges it: a unit for each byte of text and [`NODE`] for each
    /// value. Returns the sum.
    pub(super) fn weigh(&self, value: &Dynamic) -> Result<u64, Error> {
        self.weigh_at(value, 0)
    }

    /// As [`Meter::weigh`], but returns no less than the length of the value's text: in a list or a map a
    /// text is printed with escapes, which make four bytes of one.
    pub(super) fn weigh_printed(&self, value: &Dynamic) -> Result<u64, Error> {
        let weight = self.weigh(value)?;
        let is_text = length(value) > 0 || value.kind() == ValueKind::String;
        Ok(if is_text { weight } else { weight.saturating_mul(ESCAPED) })
    }

    fn weigh_at(&self, value: &Dynamic, depth: usize) -> Result<u64, Error> {
        if depth > MAX_DEPTH {
            let reason = format!("expected a value of at most {MAX_DEPTH} levels, found more");
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
        let mut weight = NODE + length(value);
        self.work(weight)?;
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                for item in value.try_iter()?.checked() {
                    weight = weight.saturating_add(self.weigh_at(&item?, depth + 1)?);
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()?.checked() {
                    let key = key?;
                    let item = value.get_item(&key)?;
                    weight = weight.saturating_add(self.weigh_at(&key, depth + 1)?);
                    weight = weight.saturating_add(self.weigh_at(&item, depth + 1)?);
                }
            }
            _ => {}
        }
        Ok(weight)
    }
}

fn take(budget: &AtomicU64, amount: u64, message: &'static str) -> Result<(), Error> {
    let left = budget.load(Ordering::Relaxed);
    // The last unit is never spent: an empty budget is one that somebody asked too much of.
    if amount >= left {
        budget.store(0, Ordering::Relaxed);
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    budget.store(left - amount, Ordering::Relaxed);
    Ok(())
}

/// The bytes of a text; 0 for any other value.
pub(super) fn length(value: &Dynamic) -> u64 {
    value.as_str().map(str::len).or_else(|| value.as_bytes().map(<[u8]>::len)).unwrap_or_default() as u64
}

/// A meter, kept alive by the engine's value that holds it.
pub(super) struct MeterRef(Dynamic);

impl std::ops::Deref for MeterRef {
    type Target = Meter;

    fn deref(&self) -> &Meter {
        static EMPTY: Meter = Meter { work: AtomicU64::new(0), memory: AtomicU64::new(0) };
        // `Meter::of` has seen that it is one; an empty meter refuses everything.
        self.0.downcast_object_ref().unwrap_or(&EMPTY)
    }
}
