"""What the package raises, beside ValueError for an event that cannot be encoded and RuntimeError for a wrong call.

As the errors of `workflow_events`, each is also aiokafka's and kafka-python's of the same name, once that is imported.
"""

from __future__ import annotations

from workflow_events.errors import KafkaConfigurationError, KafkaError, NoBrokersAvailable

__all__ = ["KafkaConfigurationError", "KafkaConnectionError", "KafkaError", "MessageSizeTooLargeError"]


class KafkaConnectionError(NoBrokersAvailable):
    """No broker answered within `connect_timeout`."""


class MessageSizeTooLargeError(KafkaError):
    """An event is larger than its topic takes. It is in the spool's quarantine, or with the caller."""
