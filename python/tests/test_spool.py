"""When Kafka does not take an event: the call returns in time, the event is on disk, and comes when Kafka is back."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from kit.broker import Broker
from kit.poll import poll
from kit.programs import Journal, finish, run, start
from kit.reader import Kafka
from kit.silent import SilentServer
from kit.spool import SpoolFolder
from workflow_events import KafkaTimeoutError, WorkflowEventProducer

NOWHERE = "127.0.0.1:1"


def an_event(note: str = "run") -> Dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": "WORKFLOW_COMPLETED",
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "source": "AIRFLOW",
        "workflow_id": "spool",
        "workflow_run_id": note,
        "payload": {"data": {"text": "Grüße"}},
        "metadata": {"environment": "dev", "version": "1.0"},
    }


# What a call may take beyond its deadline, on a machine that does much else and whose disk is slow. What it must not
# wait for (a host's look-up, a connection, another's time-out) takes longer.
LATE = 4.0


def timed(publish: Callable[[], Any]) -> Any:
    """What it returned, and how long that took."""
    began = time.monotonic()
    answer = publish()
    return answer, time.monotonic() - began


@pytest.fixture
def producers() -> Iterator[Callable[..., WorkflowEventProducer]]:
    """Makes lazy clients and closes them."""
    made: List[WorkflowEventProducer] = []

    def make(servers: str, **settings: Any) -> WorkflowEventProducer:
        made.append(WorkflowEventProducer(servers, connect_timeout=None, **settings))
        return made[-1]

    yield make
    for producer in made:
        producer.close(timeout=2.0)


Make = Callable[..., WorkflowEventProducer]


@pytest.mark.parametrize("where", ["refused", "silent", "unknown name"])
@pytest.mark.parametrize("deadline", [0.0, 0.3, 2.0])
def test_publish_returns_within_its_deadline_and_the_event_is_on_disk(
    where: str, deadline: float, silent: SilentServer, spool: SpoolFolder, producers: Make
) -> None:
    servers = {"refused": NOWHERE, "silent": silent.bootstrap, "unknown name": "no-such-host.invalid:9092"}[where]
    producer = producers(servers)
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


def test_what_was_spooled_comes_with_the_next_publish_when_the_broker_is_back(
    broker: Broker, spool: SpoolFolder, producers: Make
) -> None:
    topic = broker.kafka.topic()
    producer = producers(broker.bootstrap, topic=topic)
    first, second, third = an_event("first"), an_event("second"), an_event("third")
    assert producer.publish_event(first) is True
    broker.stop()
    # One that gives it up for good: nobody but the spool has it then.
    with WorkflowEventProducer(broker.bootstrap, connect_timeout=None, topic=topic) as gone:
        assert gone.publish_event(second, timeout=0.2) is False
    assert spool.events() == [second]
    broker.start_again()
    poll(30, "a publish is acknowledged again", lambda: producer.publish_event(third, timeout=5))
    records = broker.kafka.wait_ids(topic, [first["event_id"], second["event_id"], third["event_id"]])
    record = next(record for record in records if record.event_id == second["event_id"])
    assert record.event == second
    assert record.key == "spool/second"
    assert record.headers["event_id"] == second["event_id"]
    assert record.headers["event_type"] == "WORKFLOW_COMPLETED"
    poll(10, "the spool is empty", spool.everything, lambda files: files == [])


def test_a_new_process_brings_what_another_has_spooled_to_the_topic_it_was_meant_for(
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
    program = "import sys, json, workflow_events as w; p = w.WorkflowEventProducer(connect_timeout=30); "
    program += "print(p.publish_event(json.loads(sys.argv[1]), timeout=30), flush=True); sys.stdin.read(); p.close()"
    following = an_event("next")
    command = [sys.executable, "-c", program, json.dumps(following)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        try:
            # The publish gives the spool a second at most: what Kafka takes later leaves it by itself.
            (record,) = broker.kafka.wait_ids(other, [event["event_id"]], within=60)
            poll(30, "the spool is empty", spool.everything, lambda files: files == [])
            printed, complaints = process.communicate("", timeout=60)
        finally:
            process.kill()
    assert printed.strip() == "True", complaints
    assert record.event == event
    assert record.headers["traceparent"] == trace
    assert broker.kafka.events(topic) == [following]


def test_the_drain_command_empties_the_spool(kafka: Kafka, topic: str, spool: SpoolFolder, producers: Make) -> None:
    producer = producers(kafka.bootstrap, topic=topic)
    events = [an_event(str(number)) for number in range(50)]
    for event in events:
        assert producer.publish_event(event, timeout=0) is False
    assert len(spool.files()) == 50
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}
    command = [sys.executable, "-m", "workflow_events", "drain"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(kafka.event_ids(topic)) == sorted(event["event_id"] for event in events)
    assert spool.everything() == []


def test_a_late_acknowledgement_withdraws_the_file(broker: Broker, spool: SpoolFolder, producers: Make) -> None:
    topic = broker.kafka.topic()
    producer = producers(broker.bootstrap, topic=topic)
    before, event = an_event("before"), an_event("late")
    assert producer.publish_event(before) is True
    broker.freeze()
    published, seconds = timed(lambda: producer.publish_event(event, timeout=1.0))
    assert published is False
    assert seconds < 1.0 + LATE
    assert spool.events() == [event]
    broker.thaw()
    poll(30, "the file is withdrawn, with no further publish", spool.everything, lambda files: files == [])
    assert broker.kafka.event_ids(topic) == [before["event_id"], event["event_id"]]


def test_a_broker_killed_under_four_publishing_threads_costs_no_event(
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
            event = an_event("thread")
            outcome, seconds = timed(lambda event=event: producer.publish_event_outcome(event, timeout=1.0))
            (promised if outcome.status in ("published", "spooled") else lost).append(event["event_id"])
            if seconds > 1.0 + LATE:
                late.append(seconds)

    threads = [threading.Thread(target=go_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    poll(20, "a hundred events were taken", lambda: len(promised), lambda count: count >= 100)
    broker.kill()
    poll(20, "events are spooled", spool.files, lambda files: len(files) >= 4)
    broker.start_again()
    count = len(promised)
    poll(60, "events are taken again", lambda: len(broker.kafka.read(topic)), lambda seen: seen > count)
    stop.set()
    for thread in threads:
        thread.join()
    assert (lost, late) == ([], [])
    poll(30, "a publish is acknowledged", lambda: producer.publish_event(an_event("last"), timeout=5))

    def drained() -> List[str]:
        producer.publish_event(an_event("push"), timeout=5)
        return spool.everything()

    poll(60, "the spool is empty", drained, lambda files: files == [], every=0.3)
    missing = set(promised) - set(broker.kafka.event_ids(topic))
    print("{} events promised over a kill, {} missing".format(len(promised), len(missing)))
    assert not missing


def test_a_flush_of_a_frozen_broker_raises_and_loses_nothing(
    broker: Broker, spool: SpoolFolder, producers: Make
) -> None:
    topic = broker.kafka.topic()
    producer = producers(broker.bootstrap, topic=topic)
    assert producer.publish_event(an_event("before")) is True
    broker.freeze()
    events = [an_event(str(number)) for number in range(20)]
    assert all(producer.enqueue_event(event) for event in events)
    began = time.monotonic()
    with pytest.raises(KafkaTimeoutError):
        producer.flush(timeout=0.5)
    assert time.monotonic() - began < 0.5 + LATE
    broker.thaw()
    producer.flush(timeout=30)
    ids = broker.kafka.event_ids(topic)
    assert [ids.count(event["event_id"]) for event in events] == [1] * 20
    assert spool.everything() == []


def test_a_close_spools_what_a_silent_broker_has_not_taken(silent: SilentServer, spool: SpoolFolder) -> None:
    producer = WorkflowEventProducer(silent.bootstrap, connect_timeout=None)
    events = [an_event(str(number)) for number in range(20)]
    assert all(producer.enqueue_event(event) for event in events)
    _, seconds = timed(lambda: producer.close(timeout=0.5))
    assert seconds < 2.0 + LATE
    assert sorted(spool.event_ids()) == sorted(event["event_id"] for event in events)


def test_publish_many_to_nobody_is_in_the_spool_within_one_deadline(spool: SpoolFolder, producers: Make) -> None:
    events = [an_event(str(number)) for number in range(200)]
    summary, seconds = timed(lambda: producers(NOWHERE).publish_many(events, timeout=0.5))
    print("200 events spooled in {:.2f} s, deadline 0.5 s".format(seconds))
    assert (summary.published, summary.spooled, summary.failed) == (0, 200, 0)
    assert [outcome.event_id for outcome in summary.outcomes] == [event["event_id"] for event in events]
    assert sorted(spool.event_ids()) == sorted(event["event_id"] for event in events)


def test_events_of_one_cluster_are_not_published_to_another(
    kafka: Kafka, topic: str, spool: SpoolFolder, producers: Make
) -> None:
    stranded = an_event("for another cluster")
    assert producers(NOWHERE, topic=topic).publish_event(stranded, timeout=0) is False
    producer = producers(kafka.bootstrap, topic=topic)
    own, after = an_event("own"), an_event("after")
    assert producer.publish_event(own, timeout=0) is False
    assert producer.publish_event(after) is True
    kafka.wait_ids(topic, [own["event_id"], after["event_id"]])
    assert stranded["event_id"] not in kafka.event_ids(topic)
    assert spool.events() == [stranded]


def test_what_cannot_be_read_is_set_aside_with_the_reason_and_holds_up_nothing(
    kafka: Kafka, topic: str, spool: SpoolFolder, producers: Make
) -> None:
    producer = producers(kafka.bootstrap, topic=topic)
    good = an_event("good")
    assert producer.publish_event(an_event("spoilt"), timeout=0) is False
    assert producer.publish_event(good, timeout=0) is False
    (spoilt,) = [one.path for one in spool.spooled() if one.event["workflow_run_id"] == "spoilt"]
    spoilt.write_bytes(b'{"format":1,"topic":\nnot an event')
    assert producer.publish_event(an_event("next")) is True
    kafka.wait_ids(topic, [good["event_id"]])
    poll(10, "nothing waits", spool.files, lambda files: files == [])
    kept = [path for path in spool.everything() if path.startswith("quarantine/")]
    assert any(path.endswith(".reason") for path in kept), spool.everything()
    assert any(b"not an event" in (spool.path / path).read_bytes() for path in kept)


# A spool that fails is loud, and fails nobody.


def critical(caplog: pytest.LogCaptureFixture, event: Dict[str, Any]) -> None:
    """One CRITICAL line, with the event whole."""
    lines = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(lines) == 1, caplog.text
    text = lines[0].getMessage()
    assert event["event_id"] in text
    assert '"workflow_run_id"' in text and event["timestamp"] in text, text


def test_an_unwritable_folder_is_logged_with_the_event_and_fails_nobody(
    tmp_path: Path, producers: Make, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("")
    event = an_event()
    producer = producers(NOWHERE, spool_dir=str(tmp_path / "a file" / "spool"))
    outcome = producer.publish_event_outcome(event, timeout=0.2)
    assert outcome.status == "lost"
    caplog.clear()
    assert producer.publish_event(event, timeout=0.2) is False
    critical(caplog, event)
    assert "a file" in caplog.text


def test_a_folder_that_even_root_cannot_write_is_logged_with_the_event(
    producers: Make, caplog: pytest.LogCaptureFixture
) -> None:
    event = an_event()
    assert producers(NOWHERE, spool_dir="/proc/1/spool").publish_event(event, timeout=0.2) is False
    critical(caplog, event)


def test_without_a_spool_a_failed_event_is_logged_whole(
    spool: SpoolFolder, producers: Make, caplog: pytest.LogCaptureFixture
) -> None:
    event = an_event()
    assert producers(NOWHERE, spool_dir=False).publish_event(event, timeout=0.2) is False
    critical(caplog, event)
    assert spool.everything() == []


def test_a_full_spool_takes_no_more_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: SpoolFolder, producers: Make, caplog: Any
) -> None:
    monkeypatch.setenv("WORKFLOW_EVENTS_SPOOL_MAX_BYTES", "4096")
    producer = producers(NOWHERE)
    events = [an_event(str(number)) for number in range(30)]
    statuses = [producer.publish_event_outcome(event, timeout=0).status for event in events]
    kept = statuses.count("spooled")
    assert 1 <= kept < 30
    assert statuses == ["spooled"] * kept + ["lost"] * (30 - kept)
    assert sum(path.stat().st_size for path in spool.files()) <= 4096
    caplog.clear()
    refused = an_event("refused")
    assert producer.publish_event(refused, timeout=0) is False
    critical(caplog, refused)
    assert "4096" in caplog.text


def loud(printed: str) -> str:
    """The program returned False and said in one CRITICAL line which event is lost, with the event: that line."""
    lines = printed.splitlines()
    assert "returned False" in lines, printed
    (lost,) = [line for line in lines if line.startswith("CRITICAL workflow_events")]
    (event_id,) = [line.split(" ")[1] for line in lines if line.startswith("event ")]
    assert event_id in lost and '"workflow_run_id"' in lost, lost
    return lost


def test_a_disk_that_takes_no_more_is_logged_with_the_event(spool: SpoolFolder, tmp_path: Path) -> None:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": NOWHERE}
    ended = run("spool", "file_size_limit", str(tmp_path / "journal"), within=30, environment=environment)
    loud(ended.printed)
    assert spool.everything() == [], "no half file stays"


def mounts() -> List[str]:
    """How a small file system of one's own can be mounted here, if it can."""
    for options in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        probe = ["unshare", *options, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        try:
            if subprocess.run(probe, capture_output=True, timeout=10).returncode == 0:
                return options
        except OSError:
            break
    return []


MOUNT = mounts()


def a_full_file_system_is_logged_with_the_event(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    inner = 'mount -t tmpfs -o size=64k tmpfs "$1"; shift; "$@"; status=$?; find "$0" -type f; exit $status'
    program = [sys.executable, str(Path(__file__).parent / "programs" / "spool.py"), "one", str(tmp_path / "journal")]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(folder / "spool"),
    }
    command = ["unshare", *MOUNT, "sh", "-c", inner, str(folder), str(folder), *program]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    printed = done.stdout.replace("x" * 100_000, "x..x")
    assert "os error 28" in loud(printed)
    assert [line for line in printed.splitlines() if line.startswith(str(folder))] == [], "no half file stays"


if MOUNT:  # Where nothing may be mounted, the limit on the size of a file stands for the full disk.
    test_a_full_file_system_is_logged_with_the_event = a_full_file_system_is_logged_with_the_event


# Many processes, killed at random.


def test_twenty_processes_killed_at_random_lose_no_event(broker: Broker, spool: SpoolFolder, tmp_path: Path) -> None:
    topic = broker.kafka.create_topic("many", partitions=3) or "many"
    journal = Journal(tmp_path / "journal")
    environment = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap, "KAFKA_TOPIC": topic}

    def one_more() -> "subprocess.Popen[str]":
        return start("spool", "worker", str(journal.path), environment=environment)

    workers = [one_more() for _ in range(20)]
    kills = 0
    try:
        poll(60, "the workers publish", lambda: len(journal.ids()), lambda count: count > 100)
        until = time.monotonic() + 20
        frozen = False
        while time.monotonic() < until:
            victim = random.randrange(20)
            assert workers[victim].poll() is None, "a worker ended by itself:\n" + finish(workers[victim], 5).printed
            workers[victim].kill()
            workers[victim].communicate()
            workers[victim] = one_more()
            kills += 1
            if kills % 6 == 0:
                (broker.thaw if frozen else broker.freeze)()
                frozen = not frozen
            time.sleep(random.uniform(0.1, 0.5))  # the rate of the killing
        broker.thaw()
    finally:
        for worker in workers:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.communicate()
    late, lost = journal.ids("late"), journal.ids("lost", "failed")
    promised = set(journal.ids("published", "spooled"))
    environment = {**os.environ, **environment}

    def drained() -> List[str]:
        command = [sys.executable, "-m", "workflow_events", "drain"]
        subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return spool.files() and [path.name for path in spool.files()][:5]

    poll(90, "the spool is drained", drained, lambda files: not files)
    in_kafka = broker.kafka.event_ids(topic)
    missing = promised - set(in_kafka)
    figures = "{} events ({} spooled first), {} kills: {} missing, {} published twice"
    twice = len(in_kafka) - len(set(in_kafka))
    print(figures.format(len(promised), len(journal.ids("spooled")), kills, len(missing), twice))
    assert not missing
    assert lost == []
    assert late == [], "publishes that outran their deadline by 4 s: {}".format(late)
    assert [name for name in spool.everything() if "quarantine" in name] == []
