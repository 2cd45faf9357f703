"""An argument of a task's own function becomes a helper's parameter only where the function passes it on; the results
of a mapped task are a list in an event."""

from typing import Dict, List

from kit.reader import Kafka
from kit.spool import SpoolFolder
from real_airflow import Airflow


def test_an_argument_of_the_task_is_a_parameter_only_when_it_is_passed_on(
    airflow: Airflow, kafka: Kafka, topic: str, spool: SpoolFolder
) -> None:
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC": topic,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(spool.path),
    }
    ended = airflow.dags_test("arguments", **env)
    ids: Dict[str, List[str]] = {}
    mapped = []
    for event in kafka.events(topic):
        assert event["workflow_id"] == "arguments", ended.text[-4000:]
        ids.setdefault(event["payload"]["data"]["of"], []).append(event["event_id"])
        mapped += event["payload"]["data"].get("numbers", [])
    assert sorted(ids) == ["mapped", "named", "open", "taskflow"], ended.text[-4000:]
    assert [len(each) for each in ids.values()] == [2, 2, 2, 2], ended.text[-4000:]
    assert sorted(one["number"] for one in mapped) == [2, 4, 6, 8]
    assert len(set(ids["mapped"])) == 2, "two lists, two events"
    assert len(set(ids["open"])) == 2, "the key of op_kwargs is not the helper's: two payloads, two events"
    assert len(set(ids["named"])) == 1, "the function passes its key on: one event, published twice"
    assert len(set(ids["taskflow"])) == 2, "one with the key, one without"
    assert "key= of publish_workflow_event is ignored" in ended.text
    assert spool.everything() == []
