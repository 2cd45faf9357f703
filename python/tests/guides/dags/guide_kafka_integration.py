"""Integration task, the example DAG, with the module name that it uses. Corrected: it called what a task returns."""

from datetime import datetime

from airflow.decorators import dag, task
from workflow_events import EventType


@dag(
    dag_id="guide_kafka_integration",
    start_date=datetime(2025, 1, 1),
    schedule="@daily",
    catchup=False,
)
def example_kafka_dag():
    @task
    def process_data():
        """Process data."""
        result = {"status": "success", "count": 100}
        return result

    @task
    def publish_completion_event(processed, **context):
        """Publish workflow completion event."""
        from workflow_integration import publish_workflow_event

        dag_run = context["dag_run"]
        result = context["ti"].xcom_pull(task_ids="process_data")

        publish_workflow_event(
            event_type=EventType.WORKFLOW_COMPLETED,
            workflow_id=dag_run.dag_id,
            workflow_run_id=dag_run.run_id,
            payload=result,
        )

    processed = process_data()
    publish_completion_event(processed)


example_kafka_dag()
