//! What counts as the acknowledgement of a record.

use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};

/// Whether a report of success says so for this record itself.
///
/// librdkafka also reports success, without an offset, when only a *later* request was acknowledged: it takes for granted that a
/// broker refuses a request whose predecessor it lacks. A broker does not where it has no state of the producer yet, so the
/// first records that a process sends to a partition can be lost while its leader moves or replicas are missing
/// (`rd_kafka_dr_implicit_ack`). Such a record has to be sent again; it may then be there twice.
pub(super) fn acknowledged(offset: i64) -> Result<(), RdError> {
    if offset >= 0 { Ok(()) } else { Err(RdError::MessageProduction(Code::Inconsistent)) }
}
