"""Extract, transform, load: the last task publishes the completion of the run.

``publish_completion`` passes its whole ``**context``: the DAG, the run and the attempt are taken from there.
"""

from datetime import datetime
from typing import Any, Dict

from airflow_integration import publish_event_from_taskflow_context
from workflow_events import EventType

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task


@dag(dag_id="example_etl_dag", start_date=datetime(2025, 1, 1), schedule="@daily", catchup=False, tags=["example"])
def example_etl_dag():
    @task
    def extract() -> Dict[str, Any]:
        return {"orders": [{"id": 1, "amount": 40}, {"id": 2, "amount": 2}]}

    @task
    def transform(extracted: Dict[str, Any]) -> Dict[str, Any]:
        orders = extracted["orders"]
        return {"count": len(orders), "total": sum(order["amount"] for order in orders)}

    @task
    def load(transformed: Dict[str, Any]) -> Dict[str, Any]:
        return {"loaded": transformed["count"], "total": transformed["total"]}

    @task
    def publish_completion(load_result: Dict[str, Any], **context: Any) -> bool:
        return publish_event_from_taskflow_context(
            event_type=EventType.WORKFLOW_COMPLETED,
            payload={
                "status": "success",
                "etl_result": load_result,
                "message": "ETL workflow completed successfully",
            },
            **context,
        )

    publish_completion(load(transform(extract())))


example_etl_dag()
