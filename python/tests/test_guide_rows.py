"""The integration guide's own list of tests, row by row: published by the helpers, read back by another client, and
accepted by the bridge."""

import uuid
from types import SimpleNamespace
from typing import Any, Dict, Iterator

import pytest
from airflow_integration import (
    get_kafka_producer,
    publish_dag_completion_event,
    publish_event_from_taskflow_context,
    publish_task_completion_event,
    publish_workflow_event,
)
from kit.bridge import Bridge
from kit.reader import Kafka
from workflow_events import EventSource, EventType, WorkflowEvent, WorkflowEventMetadata, WorkflowEventPayload


class Published:
    """Finds the one event of a run: in Kafka, by the other client, and at the agent, through the bridge."""

    def __init__(self, kafka: Kafka, bridge: Bridge) -> None:
        self.run_id = "run-{}".format(uuid.uuid4())
        self._kafka, self._bridge = kafka, bridge

    def event(self) -> Dict[str, Any]:
        found = [one for one in self._kafka.read("workflow-events") if one.event["workflow_run_id"] == self.run_id]
        assert len(found) == 1, "one event of {} was expected: {}".format(self.run_id, found)
        event = found[0].event
        assert found[0].key == "{}/{}".format(event["workflow_id"], self.run_id)
        assert found[0].headers["event_id"] == event["event_id"]
        assert found[0].headers["event_type"] == event["event_type"]
        assert self._bridge.accepted(event["event_id"]) == event
        return event


@pytest.fixture
def published(kafka: Kafka, bridge: Bridge, monkeypatch: pytest.MonkeyPatch, patient: None) -> Iterator[Published]:
    # Patient: the first publish of a process may need longer than a helper's five seconds.
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    yield Published(kafka, bridge)


def an_event(run_id: str, kind: EventType = EventType.WORKFLOW_COMPLETED) -> WorkflowEvent:
    return WorkflowEvent(
        event_type=kind,
        source=EventSource.AIRFLOW,
        workflow_id="rows",
        workflow_run_id=run_id,
        payload=WorkflowEventPayload(data={"status": "success"}),
        metadata=WorkflowEventMetadata(environment="dev"),
    )


class TestProducer:
    def test_a_producer_of_the_default_configuration_publishes(self, published: Published) -> None:
        producer = get_kafka_producer()
        assert producer.publish_event(an_event(published.run_id)) is True
        producer.close()
        assert published.event()["workflow_id"] == "rows"

    def test_a_producer_of_explicit_bootstrap_servers_goes_there(
        self, published: Published, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        producer = get_kafka_producer(bootstrap_servers=kafka.bootstrap)
        assert producer.publish_event(an_event(published.run_id)) is True
        producer.close()
        assert published.event()["payload"] == {"data": {"status": "success"}}

    def test_a_producer_connects_to_the_real_broker_and_is_closed_by_its_context(self, published: Published) -> None:
        with get_kafka_producer() as producer:
            assert producer.publish_event(an_event(published.run_id, EventType.WORKFLOW_TRIGGERED)) is True
            producer.flush(timeout=5.0)
        assert published.event()["event_type"] == "WORKFLOW_TRIGGERED"


class TestPublishWorkflowEvent:
    def test_a_completed_workflow_is_published(self, published: Published) -> None:
        assert publish_workflow_event(
            event_type=EventType.WORKFLOW_COMPLETED,
            workflow_id="rows",
            workflow_run_id=published.run_id,
            payload={"status": "success"},
        )
        event = published.event()
        assert (event["event_type"], event["source"]) == ("WORKFLOW_COMPLETED", "AIRFLOW")
        assert event["payload"] == {"data": {"status": "success"}}
        assert event["metadata"]["environment"] == "dev"
        assert event["metadata"]["version"] == "1.0"

    def test_a_failed_workflow_is_published(self, published: Published) -> None:
        assert publish_workflow_event(
            event_type=EventType.WORKFLOW_FAILED,
            workflow_id="rows",
            workflow_run_id=published.run_id,
            payload={"error": "no rows"},
        )
        event = published.event()
        assert event["event_type"] == "WORKFLOW_FAILED"
        assert event["payload"] == {"data": {"error": "no rows"}}

    def test_custom_metadata_is_kept_and_the_environment_fills_the_rest(
        self, published: Published, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ENVIRONMENT", "staging")
        monkeypatch.setenv("EVENT_SCHEMA_VERSION", "1.1")
        assert publish_workflow_event(
            event_type=EventType.WORKFLOW_COMPLETED,
            workflow_id="rows",
            workflow_run_id=published.run_id,
            payload={},
            metadata={"environment": "prod", "team": "data"},
        )
        metadata = published.event()["metadata"]
        assert (metadata["environment"], metadata["version"], metadata["team"]) == ("prod", "1.1", "data")

    def test_consumed_events_equal_published_events(self, published: Published) -> None:
        payload = {"nested": {"list": [1, 2.5, None, True]}, "text": "Grüße, 世界 \U0001f680", "big": 2**53 + 1}
        assert publish_workflow_event(
            event_type=EventType.WORKFLOW_COMPLETED,
            workflow_id="rows/with a slash",
            workflow_run_id=published.run_id,
            payload=payload,
        )
        event = published.event()
        assert event["payload"] == {"data": payload}
        uuid.UUID(event["event_id"])


class TestTaskCompletion:
    def test_a_task_that_succeeded_is_a_completion_of_scope_task(self, published: Published) -> None:
        assert publish_task_completion_event(
            task_id="load", dag_id="rows", dag_run_id=published.run_id, task_result={"rows": 3}, task_status="success"
        )
        event = published.event()
        assert event["event_type"] == "WORKFLOW_COMPLETED"
        assert (event["metadata"]["scope"], event["metadata"]["task_id"]) == ("task", "load")
        assert event["payload"]["data"]["result"] == {"rows": 3}

    def test_a_task_that_failed_is_a_failure_with_its_message(self, published: Published) -> None:
        assert publish_task_completion_event(
            task_id="load",
            dag_id="rows",
            dag_run_id=published.run_id,
            task_status="failed",
            error_message="no rows",
        )
        event = published.event()
        assert event["event_type"] == "WORKFLOW_FAILED"
        assert event["metadata"]["scope"] == "task"
        assert event["payload"]["data"]["error_message"] == "no rows"


class TestDagCompletion:
    def test_a_dag_that_succeeded_is_a_completion_of_scope_dag(self, published: Published) -> None:
        assert publish_dag_completion_event(
            dag_id="rows", dag_run_id=published.run_id, dag_status="success", task_results={"a": "success"}
        )
        event = published.event()
        assert (event["event_type"], event["metadata"]["scope"]) == ("WORKFLOW_COMPLETED", "dag")
        assert event["payload"]["data"]["task_results"] == {"a": "success"}

    def test_a_dag_that_failed_is_a_failure_of_scope_dag(self, published: Published) -> None:
        assert publish_dag_completion_event(
            dag_id="rows", dag_run_id=published.run_id, dag_status="failed", error_message="task a failed"
        )
        event = published.event()
        assert (event["event_type"], event["metadata"]["scope"]) == ("WORKFLOW_FAILED", "dag")


class TestTaskFlowContext:
    def test_the_subject_is_the_dag_run_of_the_context(self, published: Published) -> None:
        dag_run = SimpleNamespace(dag_id="rows", run_id=published.run_id)
        context = {"dag_run": dag_run}
        assert publish_event_from_taskflow_context(
            event_type=EventType.WORKFLOW_COMPLETED, payload={"status": "success"}, **context
        )
        assert published.event()["workflow_id"] == "rows"

    def test_so_does_its_task_instance(self, published: Published) -> None:
        ti = SimpleNamespace(
            dag_id="rows", run_id=published.run_id, task_id="load", map_index=-1, max_tries=0, try_number=1
        )
        context = {"ti": ti}
        assert publish_event_from_taskflow_context(
            event_type=EventType.WORKFLOW_COMPLETED, payload={"status": "success"}, **context
        )
        assert published.event()["workflow_id"] == "rows"

    def test_explicit_ids_go_before_the_context(self, published: Published) -> None:
        context = {"dag_run": SimpleNamespace(dag_id="another", run_id="another")}
        assert publish_event_from_taskflow_context(
            event_type=EventType.WORKFLOW_COMPLETED,
            payload={},
            dag_id="rows",
            dag_run_id=published.run_id,
            **context,
        )
        assert published.event()["workflow_id"] == "rows"

    def test_a_missing_context_is_logged_and_false(
        self, kafka: Kafka, bridge: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
        before = len(kafka.read("workflow-events"))
        assert publish_event_from_taskflow_context(event_type=EventType.WORKFLOW_COMPLETED, payload={}) is False
        assert len(kafka.read("workflow-events")) == before
        assert any(record.levelname in ("ERROR", "WARNING") for record in caplog.records), caplog.text
