"""Integration guide, basic usage: a task publishes with its context. Corrected: no datetime was imported."""

from datetime import datetime

from airflow.decorators import dag, task
from airflow_integration import publish_event_from_taskflow_context
from workflow_events import EventType


@dag(
    dag_id="guide_example_dag",
    start_date=datetime(2025, 1, 1),
    schedule="@daily",
    catchup=False,
)
def example_dag():
    @task
    def process_data(**context):
        """Process data and publish completion event."""
        result = {"status": "success", "count": 100}

        publish_event_from_taskflow_context(
            event_type=EventType.WORKFLOW_COMPLETED,
            payload={"status": "success", "result": result},
            **context,
        )

        return result

    process_data()


example_dag()
