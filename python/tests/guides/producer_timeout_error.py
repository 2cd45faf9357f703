"""Producer guide: a short time-out. publish_event answers False; the except clause is for flush."""

from kafka.errors import KafkaTimeoutError
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
    workflow_run_id="run_timeout",
    payload=WorkflowEventPayload(data={}),
    metadata=WorkflowEventMetadata(environment="dev"),
)
try:
    success = producer.publish_event(event, timeout=1)
    print(f"published: {success}")
except KafkaTimeoutError:
    print("Publish operation timed out")
producer.close()
