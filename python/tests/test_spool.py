"""Events that Kafka does not acknowledge: the call returns in time, the event is on disk, and a drain publishes it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, List

import pytest
from kit.events import an_event
from kit.poll import poll
from kit.reader import Kafka
from kit.silent import SilentServer
from kit.spool import SpoolFolder
from kit.timing import LATE, SLOW_SET_UP, timed
from workflow_events import WorkflowEventProducer

NOWHERE = "127.0.0.1:1"

Make = Callable[..., WorkflowEventProducer]


@pytest.mark.parametrize("where", ["refused", "silent", "unknown name"])
@pytest.mark.parametrize("deadline", [0.0, 0.3, 2.0])
def test_publish_returns_within_its_deadline_and_the_event_is_on_disk(
    where: str, deadline: float, silent: SilentServer, spool: SpoolFolder, producers: Make
) -> None:
    servers = {"refused": NOWHERE, "silent": silent.bootstrap, "unknown name": "no-such-host.invalid:9092"}[where]
    producer = producers(servers, properties=SLOW_SET_UP)
    event = an_event()
    published, seconds = timed(lambda: producer.publish_event(event, timeout=deadline))
    print("{} with a deadline of {} s: returned after {:.3f} s".format(where, deadline, seconds))
    assert published is False
    assert seconds < deadline + LATE
    (spooled,) = spool.spooled()
    assert spooled.event == event
    assert spooled.mode == 0o600
    assert spool.mode() == 0o700
    assert spooled.header["bootstrap_servers"] == servers
    assert spooled.header["topic"] == "workflow-events"
    assert spooled.header["event_id"] == event["event_id"]


def test_a_deadline_of_zero_is_the_spool_even_when_the_broker_is_there(
    kafka: Kafka, topic: str, spool: SpoolFolder, producers: Make
) -> None:
    producer = producers(kafka.bootstrap, topic=topic)
    event = an_event()
    published, seconds = timed(lambda: producer.publish_event(event, timeout=0))
    assert published is False
    assert seconds < LATE
    assert spool.events() == [event]
    assert kafka.read(topic) == []


def test_the_drain_command_empties_the_spool(kafka: Kafka, topic: str, spool: SpoolFolder, producers: Make) -> None:
    producer = producers(kafka.bootstrap, topic=topic)
    events = [an_event() for _ in range(50)]
    for event in events:
        assert producer.publish_event(event, timeout=0) is False
    assert len(spool.files()) == 50
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}
    command = [sys.executable, "-m", "workflow_events", "drain"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(kafka.event_ids(topic)) == sorted(event["event_id"] for event in events)
    assert spool.everything() == []


def test_a_close_spools_what_a_silent_broker_has_not_taken(silent: SilentServer, spool: SpoolFolder) -> None:
    producer = WorkflowEventProducer(silent.bootstrap, connect_timeout=None)
    events = [an_event() for _ in range(20)]
    for event in events:
        producer.enqueue_event(event)  # The first may go straight into the spool: a client has a second to be made.
    _, seconds = timed(lambda: producer.close(timeout=0.5))
    assert seconds < 100, "it waits for the disk, and not for the broker's two minutes"
    assert sorted(spool.event_ids()) == sorted(event["event_id"] for event in events)


def test_publish_many_without_a_broker_is_spooled_within_one_deadline(spool: SpoolFolder, producers: Make) -> None:
    events = [an_event() for _ in range(200)]
    summary, seconds = timed(lambda: producers(NOWHERE).publish_many(events, timeout=0.5))
    print("200 events spooled in {:.2f} s, deadline 0.5 s".format(seconds))
    assert (summary.published, summary.spooled, summary.failed) == (0, 200, 0)
    assert [outcome.event_id for outcome in summary.outcomes] == [event["event_id"] for event in events]
    assert sorted(spool.event_ids()) == sorted(event["event_id"] for event in events)


def test_events_of_one_cluster_are_not_published_to_another(
    kafka: Kafka, topic: str, spool: SpoolFolder, producers: Make
) -> None:
    stranded = an_event()
    assert producers(NOWHERE, topic=topic).publish_event(stranded, timeout=0) is False
    producer = producers(kafka.bootstrap, topic=topic)
    own = an_event()
    assert producer.publish_event(own, timeout=0) is False

    def left() -> List[str]:
        # One publish is enough, but for a machine that needs more than a second for what waits.
        producer.publish_event(an_event(), timeout=60)
        return spool.event_ids()

    poll(180, "its own event has left the spool", left, lambda ids: ids == [stranded["event_id"]], every=0.5)
    kafka.wait_ids(topic, [own["event_id"]])
    assert stranded["event_id"] not in kafka.event_ids(topic)
    assert spool.events() == [stranded]


def test_an_unreadable_file_is_quarantined_with_the_reason_and_blocks_nothing(
    kafka: Kafka, topic: str, spool: SpoolFolder, producers: Make
) -> None:
    producer = producers(kafka.bootstrap, topic=topic)
    good = an_event()
    assert producer.publish_event(an_event(workflow_run_id="spoilt"), timeout=0) is False
    assert producer.publish_event(good, timeout=0) is False
    (spoilt,) = [one.path for one in spool.spooled() if one.event["workflow_run_id"] == "spoilt"]
    spoilt.write_bytes(b'{"format":1,"topic":\nnot an event')

    def waiting() -> List[Path]:
        # One publish is enough, but for a machine that needs more than a second for what waits.
        producer.publish_event(an_event(), timeout=60)
        return spool.files()

    poll(180, "nothing waits", waiting, lambda files: files == [], every=0.5)
    kafka.wait_ids(topic, [good["event_id"]])
    kept = [path for path in spool.everything() if path.startswith("quarantine/")]
    assert any(path.endswith(".reason") for path in kept), spool.everything()
    assert any(b"not an event" in (spool.path / path).read_bytes() for path in kept)
