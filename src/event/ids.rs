//! Ids derived from an event: stable over attempts, restarts and replicas.

use std::fmt;

use uuid::Uuid;

use super::{generation::Generation, model::Event};

/// The namespace of every uuid5 of this project. Changing it would make every delivery a new one.
const NAMESPACE: Uuid = Uuid::from_u128(0x5f0c_7f6e_1d0b_5a3c_9e42_7b9d_6a51_c0de);

/// Joins parts so that different lists of parts never give the same bytes.
fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|p| p.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The id of an event that has none: uuid5 over the given parts, each length-prefixed.
pub(super) fn of_parts(parts: &[&[u8]]) -> String {
    Uuid::new_v5(&NAMESPACE, &length_prefixed(parts)).to_string()
}

/// The identity of one delivery (one event to one agent for one rule): the `Idempotency-Key`, the
/// `webhook-id` and the LangGraph thread that claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryId(Uuid);

impl DeliveryId {
    /// uuid5 over the parts, each length-prefixed. The number of a sending is a part of its own, which only those have that
    /// were sent again.
    pub fn new(rule: &str, agent: &str, event_id: &str, generation: Generation) -> Self {
        let (number, again) = (generation.number.to_be_bytes(), generation.again.to_be_bytes());
        let parts: [&[u8]; 5] = [rule.as_bytes(), agent.as_bytes(), event_id.as_bytes(), &number, &again];
        let parts = if generation.again == 0 { &parts[..4] } else { &parts };
        Self(Uuid::new_v5(&NAMESPACE, &length_prefixed(parts)))
    }

    /// The UUID itself.
    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells an event from another one with the same id: 64 bits of SHA-1 over type, source, workflow and
/// run. The payload is left out: a publisher that repeats an event with a newer time or count still
/// repeats the same event.
pub fn digest(event: &Event) -> u64 {
    let parts: [&[u8]; 4] = [
        event.event_type().as_str().as_bytes(),
        event.source().as_str().as_bytes(),
        event.workflow_id().as_bytes(),
        event.workflow_run_id().as_bytes(),
    ];
    Uuid::new_v5(&NAMESPACE, &length_prefixed(&parts)).as_u64_pair().0
}
