//! Serves the answers of a producer, at no cost while there are none to come.

use std::{thread, time::Duration};

use rdkafka::producer::{BaseProducer, ProducerContext};

/// How long one poll lasts while an answer is to come.
const POLL: Duration = Duration::from_millis(100);
/// How often an idle client is asked for what it has to report.
const IDLE: Duration = Duration::from_secs(1);
/// How many reports are taken each time.
const IDLE_EVENTS: usize = 16;

/// Serves the answers for a while. A poll spins through what is left of its last millisecond, so nothing is polled while no
/// answer is to come: the thread sleeps until it is unparked, for a second at most.
pub(super) fn serve<C: ProducerContext>(producer: &BaseProducer<C>, waits_for_answers: bool) {
    if waits_for_answers {
        producer.poll(POLL);
        return;
    }
    serve_ready(producer);
    thread::park_timeout(IDLE);
}

/// Serves what is there. Each of these polls takes one event and waits for none.
pub(super) fn serve_ready<C: ProducerContext>(producer: &BaseProducer<C>) {
    (0..IDLE_EVENTS).for_each(|_| producer.poll(Duration::ZERO));
}
