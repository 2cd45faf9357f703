"""The guides' DAGs (python/tests/guides/dags), run as they stand by real Airflow: the events are in Kafka, and the
bridge takes them."""

import shutil
from pathlib import Path
from typing import Any, Dict

import pytest
from kit.bridge import Bridge
from kit.reader import Kafka
from kit.spool import SpoolFolder
from real_airflow import Airflow

GUIDES = Path(__file__).resolve().parents[1] / "guides" / "dags"
RESULT = {"status": "success", "count": 100}

# What each DAG publishes: type, data, and the scope in the metadata.
PROMISES: Dict[str, Any] = {
    "guide_example_dag": ("WORKFLOW_COMPLETED", {"status": "success", "result": RESULT}),
    "guide_task_completion": ("WORKFLOW_COMPLETED", {"result": {"rows": 3}}),
    "guide_task_failure": ("WORKFLOW_FAILED", {"error_message": "no rows"}),
    "guide_etl_completion": (
        "WORKFLOW_COMPLETED",
        {"status": "success", "etl_result": {"loaded": 7}, "message": "ETL workflow completed successfully"},
    ),
    "guide_producer_task": ("WORKFLOW_COMPLETED", {"status": "success"}),
    "guide_kafka_integration": ("WORKFLOW_COMPLETED", RESULT),
}


def test_each_dag_of_the_guides_is_run() -> None:
    assert {path.stem for path in GUIDES.glob("*.py")} == set(PROMISES)


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_a_dag_of_the_guides_publishes_its_events(
    name: str, airflow: Airflow, kafka: Kafka, bridge: Bridge, spool: SpoolFolder
) -> None:
    shutil.copy(str(GUIDES / f"{name}.py"), str(airflow.dags))
    before = len(kafka.read("workflow-events"))
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(spool.path),
    }
    failing = name == "guide_task_failure"
    ended = airflow.dags_test(name, check=not failing, **env)
    records = kafka.read("workflow-events")[before:]
    assert len(records) == 1, ended.text[-4000:]
    event = records[0].event
    kind, data = PROMISES[name]
    assert (event["event_type"], event["workflow_id"], event["source"]) == (kind, name, "AIRFLOW")
    assert {key: event["payload"]["data"].get(key) for key in data} == data
    assert records[0].key == "{}/{}".format(name, event["workflow_run_id"])
    assert bridge.accepted(event["event_id"]) == event
    assert spool.everything() == []
