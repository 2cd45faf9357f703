"""`python -m workflow_events drain`: its effect, output and exit codes."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest
from kit.events import an_event
from kit.poll import poll
from kit.reader import Kafka
from kit.spool import SpoolFolder
from workflow_events import KafkaError, WorkflowEventProducer
from workflow_events import __main__ as command_line
from workflow_events.summary import DrainSummary

NOWHERE = "127.0.0.1:1"


def command(servers: str, *arguments: str) -> "tuple[List[str], Dict[str, str]]":
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": servers}
    return [sys.executable, "-m", "workflow_events", *arguments], environment


def drain(servers: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line, environment = command(servers, "drain", *arguments)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=180)


def put(servers: str, topic: str, count: int = 1, **settings: Any) -> List[str]:
    """That many events for those brokers, in the spool: their ids."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    with WorkflowEventProducer(servers, connect_timeout=None, topic=topic, **settings) as producer:
        for event_id in ids:
            assert producer.publish_event_outcome(an_event(event_id), timeout=0).status == "spooled"
    return ids


def test_a_drain_prints_its_result(kafka: Kafka, topic: str, spool: SpoolFolder) -> None:
    ids = put(kafka.bootstrap, topic, 3)
    done = drain(kafka.bootstrap)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"3 published, 0 put back, 0 quarantined, 0 left in {spool.path}\n"
    assert sorted(kafka.event_ids(topic)) == sorted(ids)
    assert drain(kafka.bootstrap).stdout.startswith("0 published, 0 put back"), "there is nothing left"


def test_a_drain_without_a_broker_leaves_everything_and_says_why(spool: SpoolFolder) -> None:
    put(NOWHERE, "t", 2)
    # It takes the whole time. The longer one is for a machine that stood still during the shorter.
    for timeout in ("4", "60"):
        done = drain(NOWHERE, "--timeout", timeout)
        if "Connection refused" in done.stderr:
            break
    assert done.returncode == 69, done.stderr
    assert "0 published, 2 put back, 0 quarantined, 2 left" in done.stdout
    assert "Connection refused" in done.stderr
    assert len(spool.files()) == 2


def test_a_drain_takes_no_more_than_its_limits_allow(kafka: Kafka, topic: str, spool: SpoolFolder) -> None:
    put(kafka.bootstrap, topic, 3)
    done = drain(kafka.bootstrap, "--max-events", "2")
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "2 published"), done.stderr
    assert len(spool.files()) == 1


def test_the_options_come_before_the_environment(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    folder = tmp_path / "another"
    put(kafka.bootstrap, topic, spool_dir=folder)
    done = drain(NOWHERE, "--bootstrap-servers", kafka.bootstrap, "--spool-dir", str(folder))
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "1 published"), done.stderr


@pytest.fixture
def watching(kafka: Kafka, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    line, environment = command(kafka.bootstrap, "drain", "--watch", "0.1")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(line, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)
        yield process
        process.kill()
        process.wait(timeout=120)


def test_a_watch_publishes_new_events_and_ends_with_sigterm(
    watching: "subprocess.Popen[str]", kafka: Kafka, topic: str, spool: SpoolFolder
) -> None:
    ids = put(kafka.bootstrap, topic)
    poll(120, "the first is published", lambda: kafka.event_ids(topic), lambda found: sorted(found) == sorted(ids))
    ids += put(kafka.bootstrap, topic)
    poll(120, "the second is published", lambda: kafka.event_ids(topic), lambda found: sorted(found) == sorted(ids))
    poll(120, "the spool is empty", spool.everything, lambda files: files == [])
    assert watching.poll() is None
    watching.terminate()
    assert watching.wait(timeout=120) == -15


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "complaint"),
    [
        (["drain"], {"KAFKA_SECURITY_PROTOCOL": "TLS"}, 78, "from the variable KAFKA_SECURITY_PROTOCOL"),
        (
            ["drain"],
            {"WORKFLOW_EVENTS_SPOOL_DIR": "off"},
            78,
            "there is no spool: WORKFLOW_EVENTS_SPOOL_DIR switches it off",
        ),
        (["drain", "--spool-dir", "/dev/null"], {}, 74, "/dev/null"),
        (["drain", "--watch", "0"], {}, 2, "expected a number above 0, found 0"),
        (["drain", "--max-events", "none"], {}, 2, "--max-events"),
        (["empty"], {}, 2, "invalid choice: 'empty'"),
        ([], {}, 2, "COMMAND"),
    ],
)
def test_a_mistake_has_its_exit_code_and_its_reason(
    arguments: List[str], environment: Dict[str, str], code: int, complaint: str
) -> None:
    line, inherited = command(NOWHERE, *arguments)
    done = subprocess.run(line, env={**inherited, **environment}, capture_output=True, text=True, timeout=180)
    assert (done.returncode, complaint in done.stderr) == (code, True), done.stderr


def test_the_help_has_the_exit_codes() -> None:
    line, environment = command(NOWHERE, "drain", "--help")
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0
    assert all(code in done.stdout for code in ("0 done", "69", "74", "78", "KAFKA_BOOTSTRAP_SERVERS"))


def test_a_producer_drains_its_own_brokers_events_and_leaves_the_others(
    kafka: Kafka, topic: str, spool: SpoolFolder
) -> None:
    mine, others = put(kafka.bootstrap, topic, 2), put(NOWHERE, topic)
    with WorkflowEventProducer(kafka.bootstrap, topic=topic, connect_timeout=60) as producer:
        done = producer.drain_spool(timeout=120)
        assert repr(done) == "DrainSummary(published=2, put_back=0, quarantined=0, left=0, error=None)"
    assert sorted(kafka.event_ids(topic)) == sorted(mine)
    assert spool.event_ids() == others


def test_a_spool_that_cannot_be_read_is_an_error_of_the_call() -> None:
    with WorkflowEventProducer(NOWHERE, connect_timeout=None, spool_dir="/dev/null") as producer:
        with pytest.raises(KafkaError, match="/dev/null") as caught:
            producer.drain_spool()
        assert caught.value.kind == "spool"


def test_a_drain_prints_how_many_events_are_for_other_brokers(kafka: Kafka, topic: str, spool: SpoolFolder) -> None:
    put(NOWHERE, topic)
    done = drain(kafka.bootstrap)
    assert (done.returncode, done.stdout) == (0, f"0 published, 0 put back, 0 quarantined, 0 left in {spool.path}\n")
    assert "1 more in the spool are for other brokers" in done.stderr
    assert "workflow-bridge spool drain" in done.stderr


def test_an_unpublishable_event_is_no_success(kafka: Kafka, topic: str, spool: SpoolFolder) -> None:
    put(kafka.bootstrap, topic, 2)
    spool.files()[0].write_bytes(b"torn")
    done = drain(kafka.bootstrap)
    assert done.stdout.startswith("1 published, 0 put back, 1 quarantined, 0 left"), done.stdout
    assert done.returncode == 65
    assert drain(kafka.bootstrap).returncode == 0, "it is in the quarantine now"


@pytest.mark.parametrize(
    ("done", "max_events", "code"),
    [
        ({"published": 3}, None, 0),
        ({"published": 3, "left": 2}, None, 69),
        ({"published": 3, "left": 2}, 3, 0),
        ({"published": 1, "left": 2}, 3, 69),
        ({"put_back": 1, "quarantined": 1, "left": 1}, None, 69),
        ({"error": "the disk"}, None, 69),
        ({"quarantined": 1}, None, 65),
        ({"published": 1, "left": 1, "left_alone": 1}, None, 65),
        ({"left": 2, "left_alone": 1}, None, 69),
    ],
)
def test_its_exit_code_is_that_of_the_bridges_own_drain(
    done: Dict[str, Any], max_events: Optional[int], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: Dict[str, Any] = {"published": 0, "put_back": 0, "quarantined": 0, "left": 0, "error": None}
    passes = [DrainSummary(**{**nothing, **done})]

    class Producer:
        spool_dir = "/spool"

        def drain_spool(self, *_: Any) -> DrainSummary:
            return passes.pop() if passes else DrainSummary(**{**nothing, **done, "published": 0})

    monkeypatch.setattr(command_line, "OTHERS_TIME", 0.0)
    assert command_line._drain(Producer(), max_events, None, False) == code  # type: ignore[arg-type]


def test_a_drain_waits_for_the_events_that_another_process_is_draining(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = [DrainSummary(1, 0, 0, 2, None), DrainSummary(1, 0, 0, 1, None), DrainSummary(0, 0, 0, 0, None)]

    class Producer:
        spool_dir = "/spool"

        def drain_spool(self, *_: Any) -> DrainSummary:
            return passes.pop(0)

    monkeypatch.setattr(command_line, "OTHERS_PAUSE", 0.0)
    monkeypatch.setattr(command_line, "OTHERS_TIME", 600.0)
    assert command_line._drain(Producer(), None, None, False) == 0  # type: ignore[arg-type]
    assert passes == []


@pytest.mark.parametrize("option", ["--watch", "--timeout"])
@pytest.mark.parametrize("value", ["inf", "1e300", "nan"])
def test_a_time_that_no_clock_holds_is_a_mistake_of_the_call(option: str, value: str) -> None:
    done = drain(NOWHERE, option, value)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"argument {option}: expected" in done.stderr
