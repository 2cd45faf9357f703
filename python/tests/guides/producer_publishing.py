"""Producer guide: the three forms of publish_event, and what it returns."""

from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

producer = WorkflowEventProducer()
event = WorkflowEvent(
    event_type=EventType.WORKFLOW_COMPLETED,
    source=EventSource.AIRFLOW,
    workflow_id="example_dag",
    workflow_run_id="run_123",
    payload=WorkflowEventPayload(data={"status": "success"}),
    metadata=WorkflowEventMetadata(environment="dev"),
)

success = producer.publish_event(event)
assert success is True

success = producer.publish_event(event, topic="custom-topic")
assert success is True

success = producer.publish_event(event, timeout=30)
if not success:
    print("Failed to publish event")
producer.close()
