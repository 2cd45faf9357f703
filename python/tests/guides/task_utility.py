"""Integration task: its utility, written with the producer. Corrected: under @task the function published nothing when
it was called, so it is a plain function; and a constructor that failed left no producer to close."""

import os

from workflow_events import EventSource, EventType, WorkflowEvent, WorkflowEventProducer


def get_kafka_producer() -> WorkflowEventProducer:
    """Get Kafka producer instance."""
    bootstrap_servers = os.getenv("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    return WorkflowEventProducer(bootstrap_servers=bootstrap_servers)


def publish_workflow_event(event_type, workflow_id, workflow_run_id, payload, **context):
    """Publish workflow event to Kafka."""
    producer = get_kafka_producer()

    try:
        event = WorkflowEvent(
            event_type=event_type,
            source=EventSource.AIRFLOW,
            workflow_id=workflow_id,
            workflow_run_id=workflow_run_id,
            payload={"data": payload},
            metadata={"environment": os.getenv("ENVIRONMENT", "dev"), "version": "1.0"},
        )

        producer.publish_event(event, topic="workflow-events")
        producer.close()

    except Exception as e:
        print(f"Failed to publish event: {e}")
        producer.close()


publish_workflow_event(EventType.WORKFLOW_COMPLETED, "example_kafka_integration", "run_1", {"status": "success"})
