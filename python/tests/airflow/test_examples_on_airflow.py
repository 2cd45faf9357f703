"""``airflow dags test`` of each example on each Airflow: what is in Kafka afterwards, and what when there is none."""

from pathlib import Path
from typing import Dict, List

import pytest
from kit.reader import Kafka
from kit.spool import SpoolFolder
from real_airflow import Airflow


@pytest.fixture
def env(kafka: Kafka, topic: str, tmp_path: Path) -> Dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC": topic,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(tmp_path / "spool"),
        "ENVIRONMENT": "staging",
        "EVENT_SCHEMA_VERSION": "1.1",
    }


def told(events: List[dict]) -> List[tuple]:
    """Type, scope and task of each event, in order."""
    return [(e["event_type"], e["metadata"]["scope"], e["metadata"].get("task_id")) for e in events]


def test_the_etl_example_publishes_its_completion(
    airflow: Airflow, kafka: Kafka, topic: str, env: Dict[str, str]
) -> None:
    airflow.dags_test("example_etl_dag", **env)
    (record,) = kafka.read(topic)
    event = record.event
    assert told([event]) == [("WORKFLOW_COMPLETED", "task", "publish_completion")]
    assert event["payload"] == {
        "data": {
            "status": "success",
            "etl_result": {"loaded": 2, "total": 42},
            "message": "ETL workflow completed successfully",
        }
    }
    assert event["metadata"] == {
        "environment": "staging",
        "version": "1.1",
        "scope": "task",
        "task_id": "publish_completion",
        "map_index": -1,
        "try_number": 1,
    }
    assert event["workflow_id"] == "example_etl_dag"
    assert record.key == "example_etl_dag/" + event["workflow_run_id"]
    assert record.headers["event_id"] == event["event_id"]


def test_the_integration_example_publishes_three_events(
    airflow: Airflow, kafka: Kafka, topic: str, env: Dict[str, str]
) -> None:
    airflow.dags_test("example_kafka_integration", **env)
    events = kafka.events(topic)
    assert told(events) == [
        ("WORKFLOW_COMPLETED", "task", "process_data"),
        ("WORKFLOW_TRIGGERED", "task", "publish_custom_event"),
        ("WORKFLOW_COMPLETED", "dag", None),
    ]
    assert [event["payload"]["data"].get("status") for event in events] == ["success", "success", "success"]
    assert events[1]["metadata"]["team"] == "data"
    assert events[2]["payload"]["data"]["task_results"]["custom event published"] is True


def test_the_decorator_and_the_callbacks_publish(
    airflow: Airflow, kafka: Kafka, topic: str, env: Dict[str, str]
) -> None:
    ended = airflow.dags_test("example_completion_events", **env)
    events = kafka.events(topic)
    assert told(events) == [
        ("WORKFLOW_COMPLETED", "task", "extract"),
        ("WORKFLOW_COMPLETED", "task", "load"),
        ("WORKFLOW_COMPLETED", "dag", None),
    ], ended.text[-3000:]
    assert events[1]["payload"]["data"] == {"task_id": "load", "status": "success", "result": {"rows": 3}}
    assert events[2]["payload"]["data"]["status"] == "success"
    assert [event["metadata"].get("try_number") for event in events] == [1, 1, None]


def test_the_listener_hears_a_dag_that_knows_nothing_of_it(
    airflow: Airflow, kafka: Kafka, topic: str, env: Dict[str, str], spool: SpoolFolder
) -> None:
    listening = {"WORKFLOW_EVENTS_LISTENER": "1", "WORKFLOW_EVENTS_LISTENER_DAGS": "listened_*"}
    airflow.dags_test("listened_plain", **listening, **env)
    airflow.python("-m", "workflow_events", "drain", **env)
    assert spool.files() == []
    heard = told(kafka.events(topic))
    print(airflow.version, heard)
    assert ("WORKFLOW_COMPLETED", "task", "work") in heard
    assert ("WORKFLOW_COMPLETED", "dag", None) in heard
    assert len(set(heard)) == len(heard)
