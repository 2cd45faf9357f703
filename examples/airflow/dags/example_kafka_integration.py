"""Explicit ids: ``publish_workflow_event`` takes the DAG, the run and a payload.

Inside a task it still knows the attempt, so a retry repeats the event's id and a clear does not.
"""

from datetime import datetime
from typing import Any, Dict

from airflow_integration import publish_dag_completion_event, publish_task_completion_event, publish_workflow_event
from workflow_events import EventType

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task


@dag(
    dag_id="example_kafka_integration",
    start_date=datetime(2025, 1, 1),
    schedule="@daily",
    catchup=False,
    tags=["example"],
)
def example_kafka_integration():
    @task
    def process_data(**context: Any) -> Dict[str, Any]:
        result = {"status": "success", "count": 100}
        ti = context["ti"]
        publish_task_completion_event(
            task_id=ti.task_id, dag_id=ti.dag_id, dag_run_id=ti.run_id, task_result=result, task_status="success"
        )
        return result

    @task
    def publish_custom_event(processed: Dict[str, Any], **context: Any) -> bool:
        dag_run = context["dag_run"]
        return publish_workflow_event(
            event_type=EventType.WORKFLOW_TRIGGERED,
            workflow_id=dag_run.dag_id,
            workflow_run_id=dag_run.run_id,
            payload=processed,
            metadata={"team": "data"},
        )

    @task
    def publish_dag_completion(published: bool, **context: Any) -> bool:
        dag_run = context["dag_run"]
        return publish_dag_completion_event(
            dag_id=dag_run.dag_id,
            dag_run_id=dag_run.run_id,
            dag_status="success",
            task_results={"process_data": "success", "custom event published": published},
        )

    publish_dag_completion(publish_custom_event(process_data()))


example_kafka_integration()
