"""Producer guide: the context manager closes."""

import os

from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

with WorkflowEventProducer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"]) as producer:
    event = WorkflowEvent(
        event_type=EventType.WORKFLOW_TRIGGERED,
        source=EventSource.AIRFLOW,
        workflow_id="example_dag",
        workflow_run_id="run_456",
        payload=WorkflowEventPayload(data={"status": "triggered"}),
        metadata=WorkflowEventMetadata(environment="dev"),
    )
    producer.publish_event(event)
