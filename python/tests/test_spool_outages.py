"""Brokers and processes that stop, are killed or freeze: every spooled event is published when Kafka is back."""

import json
import os
import random
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, List

import pytest
from kit.broker import Broker
from kit.events import an_event
from kit.poll import poll
from kit.programs import Journal, Running, finish, start
from kit.reader import Kafka
from kit.spool import SpoolFolder
from kit.timing import timed
from workflow_events import KafkaTimeoutError, WorkflowEventProducer

Make = Callable[..., WorkflowEventProducer]

# What a call may take beyond its deadline on a machine with more to do than it can: less than the two minutes for which
# the client itself tries to deliver.
LATE = 80.0


def test_spooled_events_are_published_with_the_next_publish_when_the_broker_is_back(
    broker: Broker, spool: SpoolFolder, producers: Make
) -> None:
    topic = broker.kafka.topic()
    producer = producers(broker.bootstrap, topic=topic)
    first, second, third = an_event(), an_event(workflow_run_id="second"), an_event()
    assert producer.publish_event(first, timeout=60) is True
    broker.stop()
    # One that gives it up for good: nobody but the spool has it then.
    with WorkflowEventProducer(broker.bootstrap, connect_timeout=None, topic=topic) as gone:
        assert gone.publish_event(second, timeout=0.2) is False
    assert spool.events() == [second]
    broker.start_again()
    poll(120, "a publish is acknowledged again", lambda: producer.publish_event(third, timeout=5))

    def drained() -> List[str]:
        # One publish is enough, but for a broker that needs more than a second for what waits.
        producer.publish_event(an_event(), timeout=5)
        return spool.everything()

    if spool.everything():
        poll(120, "the spool is empty", drained, lambda files: files == [])
    records = broker.kafka.wait_ids(topic, [first["event_id"], second["event_id"], third["event_id"]])
    record = next(record for record in records if record.event_id == second["event_id"])
    assert record.event == second
    assert record.key == "etl/second"
    assert record.headers["event_id"] == second["event_id"]
    assert record.headers["event_type"] == "WORKFLOW_COMPLETED"


# Publishes one event again and again until its standard input ends: the first publish may leave no time for the spool.
UNTIL_TOLD = """
import json, sys, threading, workflow_events
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
with workflow_events.WorkflowEventProducer(connect_timeout=60) as producer:
    while not told.is_set():
        print(producer.publish_event(json.loads(sys.argv[1]), timeout=30), flush=True)
        told.wait(1)
"""


def test_a_new_process_publishes_the_events_that_another_spooled_to_their_topic(
    broker: Broker, spool: SpoolFolder, producers: Make
) -> None:
    topic, other = broker.kafka.topic(), broker.kafka.topic("other")
    broker.stop()
    event = an_event()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    first = producers(broker.bootstrap)
    outcome = first.publish_event_outcome(event, topic=other, timeout=0.2, traceparent=trace)
    assert outcome.status == "spooled"
    # Or it goes on trying by itself, until its delivery timeout.
    first.close()
    assert Path(outcome.path) == spool.files()[0]
    broker.start_again()
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap, "KAFKA_TOPIC": topic}
    following = an_event()
    command = [sys.executable, "-c", UNTIL_TOLD, json.dumps(following)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        try:
            # A publish gives the spool a second at most. What Kafka takes later leaves it by itself, or was sent again.
            record, *again = broker.kafka.wait_ids(other, [event["event_id"]], within=180)
            poll(120, "the spool is empty", spool.everything, lambda files: files == [])
            printed, complaints = process.communicate("", timeout=120)
        finally:
            process.kill()
    assert "True" in printed.split(), complaints
    for each in (record, *again):
        assert each.event == event
        assert each.headers["traceparent"] == trace
    published = broker.kafka.events(topic)
    assert published == [following] * len(published) != []


def test_a_late_acknowledgement_withdraws_the_file(broker: Broker, spool: SpoolFolder, producers: Make) -> None:
    topic = broker.kafka.topic()
    producer = producers(broker.bootstrap, topic=topic)
    before, event = an_event(), an_event()
    assert producer.publish_event(before, timeout=60) is True
    broker.freeze()
    published, seconds = timed(lambda: producer.publish_event(event, timeout=1.0))
    assert published is False
    assert seconds < 1.0 + LATE
    assert spool.events() == [event]
    broker.thaw()
    poll(120, "the file is withdrawn, with no further publish", spool.everything, lambda files: files == [])
    assert broker.kafka.event_ids(topic) == [before["event_id"], event["event_id"]]


def test_a_broker_killed_under_four_publishing_threads_loses_no_event(
    broker: Broker, spool: SpoolFolder, producers: Make
) -> None:
    topic = broker.kafka.topic()
    producer = producers(broker.bootstrap, topic=topic)
    promised: List[str] = []
    late: List[float] = []
    lost: List[str] = []
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            event = an_event()
            outcome, seconds = timed(lambda event=event: producer.publish_event_outcome(event, timeout=1.0))
            (promised if outcome.status in ("published", "spooled") else lost).append(event["event_id"])
            if seconds > 1.0 + LATE:
                late.append(seconds)

    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        poll(120, "a hundred events were taken", lambda: len(promised), lambda count: count >= 100)
        broker.kill()
        poll(120, "events are spooled", spool.files, lambda files: len(files) >= 4)
        broker.start_again()
        count = len(promised)
        poll(120, "events are taken again", lambda: len(broker.kafka.read(topic)), lambda seen: seen > count)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    assert (lost, late) == ([], [])
    poll(120, "a publish is acknowledged", lambda: producer.publish_event(an_event(), timeout=5))

    def drained() -> List[str]:
        producer.publish_event(an_event(), timeout=5)
        return spool.everything()

    poll(120, "the spool is empty", drained, lambda files: files == [], every=0.3)
    missing = set(promised) - set(broker.kafka.event_ids(topic))
    print("{} events promised over a kill, {} missing".format(len(promised), len(missing)))
    assert not missing


def test_a_flush_of_a_frozen_broker_raises_and_loses_nothing(
    broker: Broker, spool: SpoolFolder, producers: Make
) -> None:
    topic = broker.kafka.topic()
    producer = producers(broker.bootstrap, topic=topic)
    assert producer.publish_event(an_event(), timeout=60) is True
    broker.freeze()
    events = [an_event() for _ in range(20)]
    assert all(producer.enqueue_event(event) for event in events)
    began = time.monotonic()
    with pytest.raises(KafkaTimeoutError):
        producer.flush(timeout=0.5)
    assert time.monotonic() - began < 0.5 + LATE
    broker.thaw()
    producer.flush(timeout=120)
    ids = broker.kafka.event_ids(topic)
    assert [ids.count(event["event_id"]) for event in events] == [1] * 20
    assert spool.everything() == []


def test_twenty_processes_killed_at_random_lose_no_event(broker: Broker, spool: SpoolFolder, tmp_path: Path) -> None:
    topic = broker.kafka.create_topic("many", partitions=3) or "many"
    journal = Journal(tmp_path / "journal")
    environment = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap, "KAFKA_TOPIC": topic}

    def one_more() -> Running:
        return start("spool", "worker", str(journal.path), environment=environment)

    workers = [one_more() for _ in range(20)]
    kills = 0
    try:
        poll(300, "the workers publish", lambda: len(journal.ids("worker")), lambda count: count > 100)
        until = time.monotonic() + 20
        frozen = False
        while time.monotonic() < until:
            victim = random.randrange(20)
            assert workers[victim].poll() is None, "a worker ended by itself:\n" + finish(workers[victim], 5).printed
            workers[victim].end()
            workers[victim] = one_more()
            kills += 1
            if kills % 6 == 0:
                (broker.thaw if frozen else broker.freeze)()
                frozen = not frozen
            time.sleep(random.uniform(0.1, 0.5))  # the rate of the killing
        broker.thaw()
        turns = len(journal.ids("worker"))
        pids = {str(worker.pid) for worker in workers}
        poll(
            300,
            "no worker hangs: each publishes once more",
            lambda: sorted(pids - set(journal.ids("worker")[turns:])),
            lambda left: left == [],
            every=0.5,
        )
    finally:
        for worker in workers:
            worker.end()
    late, lost = journal.ids("late"), journal.ids("lost", "failed")
    promised = set(journal.ids("published", "spooled"))
    environment = {**os.environ, **environment}

    def drained() -> List[str]:
        command = [sys.executable, "-m", "workflow_events", "drain"]
        subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        return spool.files() and [path.name for path in spool.files()][:5]

    poll(300, "the spool is drained", drained, lambda files: not files)
    in_kafka = broker.kafka.event_ids(topic)
    missing = promised - set(in_kafka)
    figures = "{} events ({} spooled first), {} kills: {} missing, {} published twice"
    twice = len(in_kafka) - len(set(in_kafka))
    print(figures.format(len(promised), len(journal.ids("spooled")), kills, len(missing), twice))
    assert not missing
    assert lost == []
    assert late == [], "publishes that outran their deadline by 80 s: {}".format(late)
    assert [name for name in spool.everything() if "quarantine" in name] == []


def test_a_record_whose_timestamp_the_broker_rejects_is_spooled_with_the_clock_as_the_reason(
    kafka: Kafka, spool: SpoolFolder, producers: Make
) -> None:
    """The topic takes nothing older than a millisecond, and the record waits longer for its batch."""
    topic = f"strict-{secrets.token_hex(6)}"
    kafka.create_topic(topic, settings={"message.timestamp.before.max.ms": "1"})
    outcome = producers(kafka.bootstrap, linger_ms=300).publish_event_outcome(an_event(), topic, timeout=60)
    assert outcome.status == "spooled"
    assert "this host's clock" in outcome.message and "message.timestamp" in outcome.message, outcome.message
    assert len(spool.events()) == 1
