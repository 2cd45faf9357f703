"""Integration guide: a DAG's completion, from anywhere."""

from airflow_integration import publish_dag_completion_event

assert publish_dag_completion_event(
    dag_id="example_dag",
    dag_run_id="run_123",
    dag_status="success",
    task_results={"task1": "success", "task2": "success"},
)
