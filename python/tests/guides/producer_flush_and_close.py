"""Producer guide, connection management: flush, flush with a time-out, close."""

from kafka.errors import KafkaTimeoutError
from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)


def an_event(run_id: str) -> WorkflowEvent:
    return WorkflowEvent(
        event_type=EventType.WORKFLOW_COMPLETED,
        source=EventSource.AIRFLOW,
        workflow_id="example_dag",
        workflow_run_id=run_id,
        payload=WorkflowEventPayload(data={}),
        metadata=WorkflowEventMetadata(environment="dev"),
    )


event1, event2 = an_event("run_1"), an_event("run_2")

producer = WorkflowEventProducer()
producer.publish_event(event1)
producer.publish_event(event2)
producer.flush()
try:
    producer.flush(timeout=5.0)
except KafkaTimeoutError:
    print("Flush timed out")
producer.close()

with WorkflowEventProducer() as producer:
    producer.publish_event(event1)
    producer.publish_event(event2)
