//! Whether Kafka answers, for a command that has an answer of somebody else already and is not to wait long for more.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use super::{POLL, ScanError, TopicReader, is_final};

const REACHED_WITHIN: Duration = Duration::from_secs(5);
/// The same once the client has logged an error, such as a connection that was refused. Another broker may answer yet.
const REFUSED_AFTER: Duration = Duration::from_secs(1);

impl TopicReader {
    /// Returns as soon as a broker answers, and gives up much sooner than the other methods.
    ///
    /// # Errors
    /// No broker answers.
    pub(crate) fn reach(&self, topic: &str) -> Result<(), ScanError> {
        let began = Instant::now();
        loop {
            let Err(error) = self.consumer.fetch_metadata(Some(topic), POLL) else { return Ok(()) };
            // The errors of the client are told by a poll. Nothing is assigned, so no record can come.
            let _ = self.consumer.poll(POLL);
            let is_refused = began.elapsed() >= REFUSED_AFTER && self.reporter.last_error().is_some();
            if is_refused || is_final(&error) || began.elapsed() >= REACHED_WITHIN {
                return Err(self.failed(topic, &error));
            }
        }
    }
}
