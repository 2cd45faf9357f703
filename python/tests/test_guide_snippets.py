"""Each example of the guides, run as a program; its events are read back and accepted by the bridge."""

import asyncio
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import httpx
import pytest
from kit import broker as users
from kit.bridge import Bridge
from kit.broker import Broker
from kit.programs import PATIENT
from kit.reader import Kafka, Stored
from kit.spool import SpoolFolder

GUIDES = Path(__file__).parent / "guides"


class Promise(NamedTuple):
    """What an example leads to: events on workflow-events, as (type, workflow, data), and what it prints."""

    events: Sequence[Any]
    prints: Sequence[str] = ()


def completed(data: Any, workflow: str = "example_dag") -> Any:
    return ("WORKFLOW_COMPLETED", workflow, data)


def triggered(data: Any) -> Any:
    return ("WORKFLOW_TRIGGERED", "example_dag", data)


PROMISES: Dict[str, Promise] = {
    "producer_basic_usage": Promise([completed({"status": "success", "count": 100})], ["Event published successfully"]),
    "producer_context_manager": Promise([triggered({"status": "triggered"})]),
    "producer_default_configuration": Promise([completed({}), completed({})]),
    "producer_custom_configuration": Promise([completed({})]),
    "producer_publishing": Promise([completed({"status": "success"})] * 2),
    "producer_connection_error": Promise([], ["Failed to connect: ", "invalid:9092"]),
    "producer_flush_and_close": Promise([completed({})] * 4),
    "producer_error_handling": Promise([completed({})]),
    "producer_batch": Promise([completed({"number": number}) for number in range(20)]),
    "producer_one_each": Promise([completed({"number": number}) for number in range(5)]),
    "integration_custom_event": Promise([triggered({"custom_data": "value", "metadata": {"key": "value"}})]),
    "task_utility": Promise([completed({"status": "success"}, "example_kafka_integration")]),
}

# Run by tests of their own.
OTHERS = {"producer_security", "producer_fastapi", "producer_timeout_error", "integration_dag_completion"}

# How the examples are run that are not patient in everything: the constructor of the first finds no broker, and has its
# own time for that; the publish of the second may be too late.
PATIENCE: Dict[str, List[str]] = {
    "producer_connection_error": [],
    "producer_timeout_error": [str(PATIENT), "--connect"],
}


def run(name: str, environment: Dict[str, str], within: float = 300.0) -> str:
    """Runs the example; what it printed, both streams. It must end well."""
    command = [sys.executable, *PATIENCE.get(name, [str(PATIENT)]), str(GUIDES / "{}.py".format(name))]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=within
    )
    assert done.returncode == 0, "{} ended with {}:\n{}".format(name, done.returncode, done.stdout)
    return done.stdout


def environment(kafka: Kafka) -> Dict[str, str]:
    return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}


def shapes(records: Sequence[Stored]) -> List[Any]:
    events = [record.event for record in records]
    return [(event["event_type"], event["workflow_id"], event["payload"]["data"]) for event in events]


def new_records(kafka: Kafka, before: int, topic: str = "workflow-events") -> List[Stored]:
    """What was published since; the topic has one partition."""
    return kafka.read(topic)[before:]


def check_records(records: Sequence[Stored], bridge: Optional[Bridge]) -> None:
    """Key and headers follow from the event, and the bridge takes it as it is."""
    for record in records:
        event = record.event
        assert record.key == "{workflow_id}/{workflow_run_id}".format(**event)
        assert record.headers["event_id"] == event["event_id"]
        assert record.headers["event_type"] == event["event_type"]
        assert record.headers["content-type"] == "application/json"
        if bridge is not None:
            assert bridge.accepted(event["event_id"]) == event


def test_each_example_is_run_by_a_test() -> None:
    assert {path.stem for path in GUIDES.glob("*.py")} == set(PROMISES) | OTHERS


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_an_example_of_the_guides_works(name: str, kafka: Kafka, bridge: Bridge) -> None:
    kafka.create_topic("custom-topic")
    promise = PROMISES[name]
    before = len(kafka.read("workflow-events"))
    printed = run(name, environment(kafka))
    records = new_records(kafka, before)
    assert shapes(records) == list(promise.events), printed
    for text in promise.prints:
        assert text in printed
    assert "Traceback" not in printed
    check_records(records, bridge)


def test_the_event_of_the_timeout_example_is_published_by_itself_or_by_a_drain(
    kafka: Kafka, bridge: Bridge, spool: SpoolFolder
) -> None:
    """A slow broker does not acknowledge it within the example's second."""
    before = len(kafka.read("workflow-events"))
    printed = run("producer_timeout_error", environment(kafka))
    assert "Traceback" not in printed
    assert ("published: True" in printed) != ("published: False" in printed), printed
    if "published: False" in printed:
        command = [sys.executable, "-m", "workflow_events", "drain"]
        drained = subprocess.run(command, env=environment(kafka), capture_output=True, text=True, timeout=300)
        assert drained.returncode == 0, drained.stdout + drained.stderr
    assert spool.files() == []
    records = new_records(kafka, before)
    assert len({record.event_id for record in records}) == 1, printed
    # An acknowledgement that came too late for the spool makes it two records of one event.
    assert shapes(records) == [completed({})] * len(records)
    check_records(records, bridge)


def test_the_custom_topic_gets_the_event_that_was_meant_for_it(kafka: Kafka) -> None:
    kafka.create_topic("workflow-events")
    kafka.create_topic("custom-topic")
    before = len(kafka.read("custom-topic"))
    run("producer_publishing", environment(kafka))
    (record,) = new_records(kafka, before, "custom-topic")
    assert record.event["workflow_run_id"] == "run_123"
    check_records([record], None)


def test_the_dag_completion_example_has_its_scope(kafka: Kafka, bridge: Bridge) -> None:
    before = len(kafka.read("workflow-events"))
    run("integration_dag_completion", environment(kafka))
    (record,) = new_records(kafka, before)
    event = record.event
    assert (event["event_type"], event["source"]) == ("WORKFLOW_COMPLETED", "AIRFLOW")
    assert (event["workflow_id"], event["workflow_run_id"]) == ("example_dag", "run_123")
    assert event["metadata"]["scope"] == "dag"
    assert event["payload"]["data"]["task_results"] == {"task1": "success", "task2": "success"}
    check_records([record], bridge)


def test_the_security_example_publishes_over_sasl_ssl(secured: Broker) -> None:
    secured.kafka.create_topic("workflow-events")
    before = len(secured.kafka.read("workflow-events"))
    variables = {
        "SECURED_BOOTSTRAP_SERVERS": secured.sasl_ssl,
        "SECURED_USERNAME": users.SCRAM_USER,
        "SECURED_PASSWORD": users.SCRAM_PASSWORD,
        "SECURED_CAFILE": secured.certs.ca,
    }
    assert "published: True" in run("producer_security", {**os.environ, **variables})
    (record,) = new_records(secured.kafka, before)
    assert record.event["workflow_run_id"] == "run_secured"
    check_records([record], None)


def test_the_fastapi_example_answers_and_publishes(
    kafka: Kafka, bridge: Bridge, monkeypatch: pytest.MonkeyPatch, patient: None
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    before = len(kafka.read("workflow-events"))
    spec = importlib.util.spec_from_file_location("producer_fastapi", GUIDES / "producer_fastapi.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(example.app), base_url="http://test") as client:
            return await client.post("/workflow/trigger", params={"workflow_id": "example_dag"})

    answer = asyncio.run(ask())
    example.producer.close()
    assert (answer.status_code, answer.json()) == (200, {"published": True})
    (record,) = new_records(kafka, before)
    assert shapes([record]) == [triggered({"triggered_by": "api"})]
    assert record.event["source"] == "FASTAPI"
    check_records([record], bridge)


def test_an_example_without_a_broker_ends_well_and_leaves_its_event_in_the_spool(spool: Any) -> None:
    """The constructor of the basic example raises, as the guide says; the helper's example must not."""
    nobody = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    program = (
        "import airflow_integration as a, workflow_events.producer as p; p.EXIT_TIMEOUT = 600; "
        "print(a.publish_dag_completion_event('d', 'r'))"
    )
    command = [sys.executable, "-c", program]
    began = time.monotonic()
    done = subprocess.run(command, env=nobody, capture_output=True, text=True, timeout=300)
    seconds = time.monotonic() - began
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    print("the whole process took {:.1f} s; a helper's deadline is 5 s".format(seconds))
    # The client itself goes on trying for two minutes.
    assert seconds < 100, "what is safe in the spool is waited for no longer"
    (event,) = spool.events()
    assert (event["workflow_id"], event["workflow_run_id"]) == ("d", "r")


def test_the_logging_of_the_guide_shows_connection_result_and_failure(kafka: Kafka) -> None:
    kafka.create_topic("workflow-events")
    printed = run("producer_error_handling", environment(kafka))
    assert "workflow_events" in printed
    assert kafka.bootstrap in printed
