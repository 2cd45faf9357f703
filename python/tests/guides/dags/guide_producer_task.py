"""Producer guide, Airflow integration: a task with a producer of its own."""

from datetime import datetime

from airflow.decorators import dag, task
from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)


@dag(dag_id="guide_producer_task", start_date=datetime(2025, 1, 1), schedule=None, catchup=False)
def producer_task():
    @task
    def publish_completion_event(**context):
        """Publish workflow completion event."""
        dag_run = context["dag_run"]

        event = WorkflowEvent(
            event_type=EventType.WORKFLOW_COMPLETED,
            source=EventSource.AIRFLOW,
            workflow_id=dag_run.dag_id,
            workflow_run_id=dag_run.run_id,
            payload=WorkflowEventPayload(data={"status": "success"}),
            metadata=WorkflowEventMetadata(environment="dev"),
        )

        with WorkflowEventProducer() as producer:
            producer.publish_event(event)

    publish_completion_event()


producer_task()
