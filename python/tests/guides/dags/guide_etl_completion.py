"""Integration guide, the ETL example: the last task publishes what the others did."""

from datetime import datetime
from typing import Any, Dict

from airflow.decorators import dag, task
from airflow_integration import publish_event_from_taskflow_context
from workflow_events import EventType


@dag(dag_id="guide_etl_completion", start_date=datetime(2025, 1, 1), schedule=None, catchup=False)
def etl():
    @task
    def load() -> Dict[str, Any]:
        return {"loaded": 7}

    @task
    def publish_completion(load_result: Dict[str, Any], **context) -> None:
        """Publish workflow completion event to Kafka."""
        publish_event_from_taskflow_context(
            event_type=EventType.WORKFLOW_COMPLETED,
            payload={
                "status": "success",
                "etl_result": load_result,
                "message": "ETL workflow completed successfully",
            },
            **context,
        )

    publish_completion(load())


etl()
