"""Producer guide, performance: one producer for many events, one flush at the end."""

from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

events = [
    WorkflowEvent(
        event_type=EventType.WORKFLOW_COMPLETED,
        source=EventSource.AIRFLOW,
        workflow_id="example_dag",
        workflow_run_id=f"run_{number}",
        payload=WorkflowEventPayload(data={"number": number}),
        metadata=WorkflowEventMetadata(environment="dev"),
    )
    for number in range(20)
]

producer = WorkflowEventProducer()

for event in events:
    producer.publish_event(event)

producer.flush()
producer.close()
