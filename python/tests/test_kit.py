"""Tests of the kit: another client writes and reads over each listener."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest
from confluent_kafka import KafkaError, Producer
from kit import broker as users
from kit.bridge import Bridge
from kit.broker import Broker
from kit.events import an_event
from kit.poll import poll
from kit.process import Process
from kit.programs import run
from kit.reader import Kafka, _read
from kit.silent import SilentServer


def publish(kafka: Kafka, topic: str, value: bytes = b'{"event_id": "1"}', within: float = 60.0) -> Any:
    """The delivery report of one record."""
    reports = []
    producer = Producer({**kafka.client, "message.timeout.ms": int(within * 1000)})
    producer.produce(
        topic, value, key=b"w/r", headers={"event_id": b"1"}, on_delivery=lambda *report: reports.append(report)
    )
    # Ends with the report, which comes late where librdkafka's own threads stand still.
    producer.flush(within + 120)
    assert len(reports) == 1, "one record, one report: {}".format(reports)
    return reports[0][0]


def test_a_record_is_read_back_as_it_was_published(kafka: Kafka, topic: str) -> None:
    assert publish(kafka, topic) is None
    (record,) = kafka.read(topic)
    assert (record.partition, record.offset, record.key) == (0, 0, "w/r")
    assert record.headers == {"event_id": "1"}
    assert record.event == {"event_id": "1"}


def test_a_topic_is_read_to_its_end_over_all_partitions(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=3)
    producer = Producer(kafka.client)
    for number in range(1000):
        producer.produce(topic, json.dumps({"event_id": str(number)}), key=str(number))
    assert producer.flush(120) == 0
    assert sorted(kafka.event_ids(topic)) == sorted(str(number) for number in range(1000))
    assert kafka.read("a-topic-that-is-not-there") == []


class Message:
    """A record, or the event that says that the partition's end is at this offset."""

    def __init__(self, offset: int, is_end: bool = False) -> None:
        self._offset, self._is_end = offset, is_end

    def error(self) -> Any:
        return KafkaError(KafkaError._PARTITION_EOF) if self._is_end else None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> Any:
        return None

    def headers(self) -> Any:
        return None

    def value(self) -> bytes:
        return b"{}"


def test_an_end_below_the_end_that_is_read_to_does_not_end_the_read() -> None:
    """A broker that just came back may name one."""
    messages = [Message(0), Message(1, is_end=True), Message(1), Message(3, is_end=True)]

    class Scripted:
        """The third offset is no record, as that of a transaction's end."""

        def list_topics(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(topics={"t": SimpleNamespace(partitions={0: None})})

        def get_watermark_offsets(self, *_: Any, **__: Any) -> Any:
            return 0, 3

        def assign(self, _: Any) -> None:
            pass

        def poll(self, _: float) -> Any:
            return messages.pop(0)

    assert [record.offset for record in _read(Scripted(), "t")] == [0, 1]
    assert messages == []


def secured_client(broker: Broker, listener: str) -> Dict[str, Any]:
    certs = broker.certs
    tls = {"security.protocol": "SSL", "ssl.ca.location": certs.ca}
    sasl = {**tls, "security.protocol": "SASL_SSL"}
    return {
        "mtls": {**tls, "ssl.certificate.location": certs.client_cert, "ssl.key.location": certs.client_key},
        "scram": {
            **sasl,
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": users.SCRAM_USER,
            "sasl.password": users.SCRAM_PASSWORD,
        },
        "plain": {
            **sasl,
            "sasl.mechanism": "PLAIN",
            "sasl.username": users.PLAIN_USER,
            "sasl.password": users.PLAIN_PASSWORD,
        },
    }[listener]


@pytest.mark.parametrize("listener", ["scram", "plain", "mtls"])
def test_another_client_gets_in_and_out_over_each_secured_listener(secured: Broker, listener: str) -> None:
    topic = secured.kafka.topic(listener)
    address = secured.mtls if listener == "mtls" else secured.sasl_ssl
    kafka = Kafka(address, secured_client(secured, listener))
    assert publish(kafka, topic) is None
    assert [record.event_id for record in kafka.read(topic)] == ["1"]


@pytest.mark.parametrize(
    "listener, wrong, text",
    [
        ("scram", {"sasl.password": "wrong"}, "Authentication failed"),
        ("plain", {"sasl.password": "wrong"}, "Authentication failed"),
        ("mtls", {"ssl.ca.location": "other_ca"}, "certificate verify failed"),
        ("mtls", {"ssl.certificate.location": "expired_cert", "ssl.key.location": "expired_key"}, "certificate"),
        ("mtls", {"ssl.certificate.location": "stranger_cert", "ssl.key.location": "stranger_key"}, "certificate"),
    ],
)
def test_a_secured_listener_refuses_wrong_credentials(
    secured: Broker, listener: str, wrong: Dict[str, str], text: str
) -> None:
    topic = secured.kafka.topic(listener)
    address = secured.mtls if listener == "mtls" else secured.sasl_ssl
    errors: List[str] = []
    replaced = {name: getattr(secured.certs, value, value) for name, value in wrong.items()}
    client = {**secured_client(secured, listener), **replaced, "error_cb": lambda error: errors.append(str(error))}
    producer = Producer(Kafka(address, client).client)
    producer.produce(topic, b"{}")

    def told() -> List[str]:
        producer.poll(0.1)
        return errors

    poll(120, "the client is turned away", told, lambda errors: any(text in error for error in errors))
    producer.purge()
    producer.flush(120)
    assert secured.kafka.read(topic) == []


def test_a_certificate_for_another_host_is_served_on_its_listener(secured: Broker) -> None:
    topic = secured.kafka.topic()
    client = {"security.protocol": "SSL", "ssl.ca.location": secured.certs.ca}
    assert publish(Kafka(secured.elsewhere, client), topic, within=3.0) is not None
    unchecked = {**client, "ssl.endpoint.identification.algorithm": "none"}
    assert publish(Kafka(secured.elsewhere, unchecked), topic) is None


def test_a_broker_is_stopped_killed_frozen_and_started_again_on_its_data(broker: Broker) -> None:
    topic = broker.kafka.topic()
    assert publish(broker.kafka, topic, b'{"event_id": "before"}') is None
    broker.stop()
    assert publish(broker.kafka, topic, within=1.0) is not None
    broker.start_again()
    assert broker.kafka.event_ids(topic) == ["before"]
    broker.kill()
    broker.start_again()
    broker.freeze()
    assert publish(broker.kafka, topic, within=1.0) is not None
    broker.thaw()
    assert publish(broker.kafka, topic, b'{"event_id": "after"}') is None
    assert broker.kafka.event_ids(topic)[0] == "before"
    assert broker.kafka.event_ids(topic)[-1] == "after"


def test_a_silent_server_accepts_and_never_answers(silent: SilentServer) -> None:
    assert publish(Kafka(silent.bootstrap), "any", within=1.0) is not None
    poll(120, "it has accepted", lambda: silent.accepted)


def test_processes_of_the_kit_end_with_the_test_process(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from kit.process import Process\n"
        "folder = Path(sys.argv[1])\n"
        "child = Process('a sleep', ['sleep', '600'], folder / 'log', folder, dict(os.environ))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as mother:
        assert mother.stdout is not None
        child = int(mother.stdout.readline())
        assert runs(child)
        mother.kill()
    poll(120, "the child has ended", lambda: not runs(child))


def runs(pid: int) -> bool:
    try:
        state = Path("/proc/{}/stat".format(pid)).read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


def test_a_program_that_ends_early_fails_with_its_log(tmp_path: Path) -> None:
    process = Process("a shell", ["sh", "-c", "echo why; exit 3"], tmp_path / "log", tmp_path, dict(os.environ))
    with pytest.raises(AssertionError, match="(?s)status 3 .*why"):
        process.wait_line("ready", 120)


def test_a_poll_that_fails_prints_what_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]  # Of its own, so that no machine is too slow for three looks.
    own = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda seconds: clock.append(clock.pop() + seconds))
    monkeypatch.setattr("kit.poll.time", own)
    seen = iter([1, 2, 2])
    with pytest.raises(AssertionError, match="(?s)the moon.*: 1\n.*: 2\n.*StopIteration"):
        poll(0.3, "the moon", lambda: next(seen), lambda value: value == 3)
    assert 0.3 < clock[0] < 0.4


def test_the_environment_of_a_test_has_no_settings(spool: Any) -> None:
    left = [name for name in os.environ if name.startswith(("KAFKA_", "AIRFLOW_", "WORKFLOW_EVENTS_"))]
    assert left == ["WORKFLOW_EVENTS_SPOOL_DIR"]
    assert os.environ["WORKFLOW_EVENTS_SPOOL_DIR"] == str(spool.path)


def test_the_bridge_takes_an_event_from_kafka_to_its_agent(kafka: Kafka, bridge: Bridge) -> None:
    event = an_event()
    before = bridge.metric("workflow_bridge_events_total", 'outcome="delivered"')
    assert publish(kafka, "workflow-events", json.dumps(event).encode()) is None
    assert bridge.accepted(event["event_id"]) == event
    poll(120, "the event is counted", lambda: bridge.metric("workflow_bridge_events_total", "delivered") > before)


def test_a_program_that_prints_more_than_a_pipe_holds_runs_on(tmp_path: Path) -> None:
    program = tmp_path / "talks.py"
    program.write_text("for _ in range(20_000):\n    print('x' * 99)\n")
    assert len(run("patient", str(program), within=300).printed) == 2_000_000
