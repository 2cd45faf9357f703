"""Producer guide, performance: what it advises against, a producer for each event, is slow but works."""

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
    for number in range(5)
]

for event in events:
    producer = WorkflowEventProducer()
    producer.publish_event(event)
    producer.close()
