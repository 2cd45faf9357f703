"""Producer guide: no argument is the same as the documented defaults."""

import os

from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

servers = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
for producer in (
    WorkflowEventProducer(),
    WorkflowEventProducer(
        bootstrap_servers=servers,
        acks="all",
        retries=3,
        max_in_flight_requests_per_connection=1,
        request_timeout_ms=30000,
        delivery_timeout_ms=120000,
    ),
):
    event = WorkflowEvent(
        event_type=EventType.WORKFLOW_COMPLETED,
        source=EventSource.AIRFLOW,
        workflow_id="example_dag",
        workflow_run_id="run_defaults",
        payload=WorkflowEventPayload(data={}),
        metadata=WorkflowEventMetadata(environment="dev"),
    )
    assert producer.publish_event(event) is True
    producer.close()
