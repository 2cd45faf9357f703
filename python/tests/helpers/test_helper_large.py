"""An event that is too large for its topic, on a real broker: a shortened one is published in any case."""

import logging

import pytest
from airflow_integration import publish_workflow_event
from kit.reader import Kafka
from workflow_events import WorkflowEventProducer


@pytest.mark.parametrize(("room", "kept"), [("100MB", True), ("1kB", False)])
def test_a_large_event_is_published_shortened_also_without_room_for_the_original(
    kafka: Kafka, topic: str, room: str, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    limit = {"100MB": 100_000_000, "1kB": 1_000}[room]
    with WorkflowEventProducer(
        bootstrap_servers=kafka.bootstrap, topic=topic, spool_max_bytes=limit, connect_timeout=60
    ) as producer:
        payload = {"rows": "x" * 2_000_000, "status": "success"}
        assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", payload, timeout=60, producer=producer)
    (event,) = kafka.events(topic)
    assert event["payload"] == {"data": {"rows": {"omitted_bytes": 2_000_002}, "status": "success"}}
    (line,) = [record.getMessage() for record in caplog.records if "The original" in record.message]
    assert ("is not kept" in line) is not kept, line
    whole = [record for record in caplog.records if "x" * 2_000_000 in record.getMessage()]
    assert bool(whole) is not kept, "an event that is not kept is in the log"
