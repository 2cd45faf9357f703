//! The orderly stop: no new work, the attempts under way, the ledger's flush, and the last commit.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::error::PartError;
use crate::{
    dedup::Ledger,
    kafka::{ConsumerHandle, LedgerAppender},
    pipeline::Pipeline,
};

/// The share of the drain time that is reserved for the last commit and for leaving the group.
const CLOSING_SHARE: u32 = 4;
/// How long calls of handlers may take to end at their next `await`.
const STOP_CALLS: Duration = Duration::from_millis(250);
/// The least time for closing the consumer.
const MIN_CLOSE_TIME: Duration = Duration::from_secs(1);

/// Waits for the attempts under way, stops the calls of handlers that outlive that, flushes the ledger, commits, and leaves the group, within `drain_timeout`.
pub(super) async fn drain(
    drain_timeout: Duration,
    pipeline: &mut Pipeline,
    ledger: &Ledger,
    appender: Option<LedgerAppender>,
    consumer: ConsumerHandle,
) -> Result<(), PartError> {
    let timeout_ms = u64::try_from(drain_timeout.as_millis()).unwrap_or(u64::MAX);
    info!(timeout_ms, "stopping: waiting for the attempts under way");
    let until = Instant::now() + drain_timeout;
    let attempts_until = until - drain_timeout / CLOSING_SHARE;
    consumer.stop_fetching();
    let finished = if let Ok(ended) = timeout_at(attempts_until, pipeline.ended()).await {
        ended.map_err(PartError::from)
    } else {
        warn!(
            "attempts are still under way at the end of the drain: the next start looks for their LangGraph runs, \
             HTTP agents may see them again with the same Idempotency-Key, and handlers are called again"
        );
        // Before the group is left: the next owner of a partition calls its handlers at once.
        if timeout(STOP_CALLS, pipeline.stop_calls()).await.is_err() {
            warn!("a handler blocks its thread: its call goes on, and another replica may call it for the same event");
        }
        Ok(())
    };
    let flushed = ledger.durable().await;
    if let Some(appender) = appender {
        acknowledged(appender, until - drain_timeout / CLOSING_SHARE / 2).await;
    }
    // Leave the group in any case, so that another replica need not wait for the session to end.
    let left = until.saturating_duration_since(Instant::now()).max(MIN_CLOSE_TIME);
    if let Err(error) = close(consumer, left).await {
        warn!(%error, "the last offsets may be uncommitted: their events are read again, and the ledger knows them");
    }
    finished?;
    flushed?;
    info!("stopped");
    Ok(())
}

/// Waits until the ledger topic has everything, so that the last commit covers what was delivered.
async fn acknowledged(appender: LedgerAppender, until: Instant) {
    let flushed = tokio::task::spawn_blocking(move || appender.flush(None, until.into_std())).await;
    if let Ok(Err(records)) = flushed {
        warn!(
            records,
            "the ledger topic has not acknowledged everything: the offsets of these events stay uncommitted, and this \
             folder knows them"
        );
    }
}

/// Closes the consumer after an error. The ledger covers whatever is committed by then.
pub(super) async fn close_after_error(consumer: ConsumerHandle) {
    if let Err(error) = close(consumer, MIN_CLOSE_TIME).await {
        tracing::error!(%error, "closing the consumer failed");
    }
}

async fn close(consumer: ConsumerHandle, timeout: Duration) -> Result<(), PartError> {
    let closed = tokio::task::spawn_blocking(move || consumer.close(timeout)).await;
    match closed {
        Ok(closed) => Ok(closed?),
        Err(error) => Err(PartError::Defect(format!("closing the consumer: {error}"))),
    }
}
