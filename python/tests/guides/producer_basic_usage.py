"""Producer guide, quick start: create, publish, close."""

import os

from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

producer = WorkflowEventProducer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"])

event = WorkflowEvent(
    event_type=EventType.WORKFLOW_COMPLETED,
    source=EventSource.AIRFLOW,
    workflow_id="example_dag",
    workflow_run_id="run_123",
    payload=WorkflowEventPayload(data={"status": "success", "count": 100}),
    metadata=WorkflowEventMetadata(environment="dev"),
)

success = producer.publish_event(event)
if success:
    print("Event published successfully")

producer.close()
