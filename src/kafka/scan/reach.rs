//! Whether Kafka answers, for a command that has an answer of somebody else already and is not to wait long for more.

use std::time::{Duration, Instant};

use super::{ScanError, TopicReader};

const REACHED_WITHIN: Duration = Duration::from_secs(5);

impl TopicReader {
    /// Returns as soon as a broker answers, and gives up much sooner than the other methods: soon after any error.
    ///
    /// # Errors
    /// No broker answers.
    pub(crate) fn reach(&self, topic: &str) -> Result<(), ScanError> {
        let began = Instant::now();
        let is_hopeless = || self.reporter.last_error().is_some();
        let reached = self.questions().metadata(Some(topic), began + REACHED_WITHIN, &is_hopeless);
        reached.map(drop).map_err(|error| self.failed(topic, &error))
    }
}
