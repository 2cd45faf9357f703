//! The service: builds the parts, joins them, and owns the order of start and stop.
//!
//! Start: rules, the admin address, ledger, dead letters, lanes, the consumer, and the spool's drain last. Stop: no new
//! work, attempts under way, the ledger's flush, the commit, and the admin pages last. Its invariant: nothing is committed
//! that the ledger does not cover.
//!
//! A program runs it as a library, with functions of its own as handlers: [`Bridge::builder`].

mod builder;
mod connect;
mod error;
mod event_page;
mod events_page;
mod exit;
mod ledger_lookup;
mod program;
mod redrive_check;
mod reload;
mod rules;
mod signals;
mod spool;
mod status;

use std::sync::Arc;

pub use self::builder::{Bridge, BuildError, Builder, RunError};
use self::program::{Program, run_program};
pub(crate) use self::{
    connect::connect,
    error::BridgeError,
    exit::Exit,
    ledger_lookup::LedgerLookup,
    program::Hooks,
    redrive_check::{Hindrance, RedriveCheck},
    rules::{Environment, load_routing, process_environment},
    signals::{SAME_SIGNAL, signals},
    spool::{BATCH_TIME as SPOOL_BATCH_TIME, publisher as spool_publisher},
};
use crate::{admin, config::Config};
pub use crate::{agents::HandlerError, handlers::HandlerOptions};
pub(crate) use crate::{dedup::remembered_ms, pipeline::CompletedEvent};

/// Runs the bridge of the command line until `until` resolves, and then stops in order.
///
/// # Errors
/// [`BridgeError`] when a part cannot start, or ends by itself. What was received and has no outcome
/// by then stays uncommitted and is read again by the next start.
pub(crate) async fn run(
    config: Config,
    environment: &Environment,
    hooks: Hooks,
    until: impl Future<Output = ()>,
) -> Result<(), BridgeError> {
    let recorder = Some(admin::install()?);
    let (routing, fingerprint) = rules::load_snapshot(&config.routing_dir, config.dedup_window, environment)?;
    let routing = Some((Arc::new(routing), fingerprint));
    let environment = Arc::clone(environment);
    let program = Program { routing, environment, has_pages: true, recorder, hooks, ..Program::default() };
    run_program(config, program, async {
        until.await;
        None
    })
    .await
}
