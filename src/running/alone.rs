//! Handlers alone: without a routing folder, pages, or a spool.

use std::{sync::Arc, time::Duration};

use super::{
    error::PartError,
    parts::{Running, Work},
    settings::Settings,
    setup,
};
use crate::{handlers::Handlers, pipeline::DeadLetterFunction};

/// Runs handlers until `until` resolves with the time that the stop may take. `dead_letters` gets what would be a dead letter;
/// `assigned` is called once: when the group has given this process its partitions, and it is decided where each is read from.
pub(crate) async fn run_handlers(
    settings: &Settings,
    handlers: Arc<Handlers>,
    dead_letters: Option<Arc<DeadLetterFunction>>,
    assigned: impl FnOnce(),
    until: impl Future<Output = Duration>,
) -> Result<(), PartError> {
    setup::register_series(&settings.kafka, 0);
    let plan = handlers.beside(None).map_err(|problems| PartError::Handlers(problems.join("\n")))?;
    let mut bridge = Running::start(settings, Work { plan, observer: None, dead_letters })?;
    let is_assigned = bridge.consumer.view().assigned();
    let watched = async {
        is_assigned.await;
        assigned();
        std::future::pending().await
    };
    let until = async {
        tokio::select! {
            within = until => within,
            never = watched => never,
        }
    };
    let ended = bridge.wait(until).await;
    bridge.stop(ended, ()).await
}
