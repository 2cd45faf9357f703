"""What a typed program does wrong: each marked line is an error to `mypy --strict`, and no other line is."""

import workflow_events
from workflow_events import EventSource, EventType, WorkflowEvent, WorkflowEventProducer

workflow_events.Nothing()  # error
producer = WorkflowEventProducer(acks=1.5)  # error
producer = WorkflowEventProducer(bootstrap="localhost:9092")  # error
done: str = producer.publish_event({})  # error
producer.publish_event("text")  # error
producer.flush("soon")  # error
event = WorkflowEvent(  # error
    event_type=EventType.WORKFLOW_COMPLETED,
    source=EventSource.AIRFLOW,
    workflow_id="example_dag",
    payload={},
)
event.workflow_id = 5  # error
