"""Producer guide: every parameter changed."""

import os

from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

producer = WorkflowEventProducer(
    bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
    acks="1",
    retries=5,
    max_in_flight_requests_per_connection=2,
    request_timeout_ms=60000,
    delivery_timeout_ms=180000,
)
event = WorkflowEvent(
    event_type=EventType.WORKFLOW_COMPLETED,
    source=EventSource.AIRFLOW,
    workflow_id="example_dag",
    workflow_run_id="run_custom",
    payload=WorkflowEventPayload(data={}),
    metadata=WorkflowEventMetadata(environment="staging"),
)
assert producer.publish_event(event) is True
producer.close()
