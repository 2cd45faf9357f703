"""Producer guide, best practices: a failure is a return value, for the caller's own log."""

import logging

from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

logging.basicConfig(level=logging.INFO)
logger = logging.getLogger(__name__)
event = WorkflowEvent(
    event_type=EventType.WORKFLOW_COMPLETED,
    source=EventSource.AIRFLOW,
    workflow_id="example_dag",
    workflow_run_id="run_handled",
    payload=WorkflowEventPayload(data={}),
    metadata=WorkflowEventMetadata(environment="dev"),
)
producer = WorkflowEventProducer(acks="all", retries=3)
success = producer.publish_event(event)
if not success:
    logger.error(f"Failed to publish event {event.event_id}")
producer.close()
