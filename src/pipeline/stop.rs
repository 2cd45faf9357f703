//! How far the bridge is with stopping: handed down as a value, watched by whoever waits.

use tokio::sync::watch;

/// Tells everybody to start no new work.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Says when no new work may start.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// A pair of the two.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// No new work from here on.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Whether it has been said.
    pub fn is_stopping(&self) -> bool {
        // Nobody is left to say it: nothing will start any more either.
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Resolves when it is said, and also when nobody is left to say it.
    pub async fn stopping(&self) {
        // An error means that the stopper is gone: nothing will start any more either.
        let _ = self.0.clone().wait_for(|stopping| *stopping).await;
    }
}
