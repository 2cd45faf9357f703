"""The shared producer: one for each process and settings, whoever closes it."""

import os
import subprocess
import sys
import warnings

import pytest
from airflow_integration import get_kafka_producer, publish_dag_completion_event, publish_workflow_event
from airflow_integration import producer as shared
from airflow_integration.producer import INVALID_SERVERS, get_spooling_producer
from kit.spool import SpoolFolder
from workflow_events import KafkaConfigurationError

NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY)


def publish(run_id):
    return publish_dag_completion_event("etl", run_id, timeout=0)


def test_it_is_shared_and_looks_for_no_broker():
    assert get_kafka_producer() is get_kafka_producer()
    assert get_kafka_producer(NOBODY) is get_kafka_producer(NOBODY)


def test_a_producer_that_was_closed_is_replaced(spool: SpoolFolder):
    first = get_kafka_producer()
    assert publish("run-1") is False
    first.close()
    assert publish("run-2") is False
    assert get_kafka_producer() is not first
    assert sorted(event["workflow_run_id"] for event in spool.events()) == ["run-1", "run-2"]


def test_a_change_of_settings_is_another_producer(monkeypatch):
    first = get_kafka_producer()
    monkeypatch.setenv("KAFKA_TOPIC", "another")
    assert get_kafka_producer() is not first


def test_a_forked_child_has_its_own(spool: SpoolFolder):
    parents = get_kafka_producer()
    publish("of-the-parent")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads is forked: it is
        child = os.fork()
    if child == 0:
        own = get_kafka_producer() is not parents
        publish("of-the-child")
        os._exit(0 if own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(event["workflow_run_id"] for event in spool.events()) == ["of-the-child", "of-the-parent"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("KAFKA_SECURITY_PROTOCOL", "BOGUS"), ("KAFKA_SASL_MECHANISM", "BOGUS"), ("KAFKA_SSL_CAFILE", "/is/not/there")],
)
def test_wrong_settings_are_named_and_the_event_waits_in_the_spool(variable, value, spool, monkeypatch, caplog):
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv(variable, value)
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"a": 1}) is False
    (waiting,) = spool.spooled()
    assert waiting.event["payload"] == {"data": {"a": 1}}
    assert waiting.header["bootstrap_servers"] == NOBODY
    assert variable in caplog.text


@pytest.mark.parametrize(
    ("variable", "value", "topic", "spooled_for"),
    [
        ("KAFKA_TOPIC", "bad topic!", None, "workflow-events"),
        ("KAFKA_TOPIC", "bad topic!", "good", "good"),
        ("WORKFLOW_EVENTS_SPOOL_MAX_BYTES", "1GB", "good", "good"),
        ("KAFKA_SECURITY_PROTOCOL", "BOGUS", "bad topic!", "workflow-events"),
    ],
)
def test_a_setting_that_no_broker_needs_does_not_lose_the_event(
    variable, value, topic, spooled_for, spool, monkeypatch, caplog
):
    monkeypatch.setenv(variable, value)
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"a": 1}, topic=topic) is False
    (waiting,) = spool.spooled()
    assert waiting.header["topic"] == spooled_for
    assert waiting.header["bootstrap_servers"] == NOBODY
    assert variable in caplog.text


def test_without_a_usable_address_the_event_waits_for_no_broker_in_the_world(spool, monkeypatch, caplog):
    for wrong in ("no port here:x", "nonsense:::"):
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", wrong)
        assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"a": wrong}) is False
    assert [waiting.header["bootstrap_servers"] for waiting in spool.spooled()] == [INVALID_SERVERS, INVALID_SERVERS]
    assert "KAFKA_BOOTSTRAP_SERVERS" in caplog.text
    assert "LOST" not in caplog.text


def test_get_publish_close_again_and_again_publishes_each_event(spool: SpoolFolder):
    for number in range(3):
        producer = get_kafka_producer()
        assert not producer.closed
        event = {"event_type": "WORKFLOW_COMPLETED", "source": "AIRFLOW", "workflow_id": "etl", "payload": {}}
        producer.publish_event({**event, "workflow_run_id": str(number)}, timeout=0)
        producer.close()
    assert sorted(event["workflow_run_id"] for event in spool.events()) == ["0", "1", "2"]


def test_a_spooling_producer_that_was_closed_is_replaced():
    get_spooling_producer().close()
    assert not get_spooling_producer().closed


def test_brokers_may_be_a_list():
    assert get_kafka_producer([NOBODY, "127.0.0.1:2"]) is get_kafka_producer([NOBODY, "127.0.0.1:2"])
    assert get_kafka_producer((NOBODY,)) is not get_kafka_producer([NOBODY, "127.0.0.1:2"])


def test_only_a_wrong_setting_makes_it_raise(monkeypatch):
    for wrong in (object(), 7, ["a", 7], "no port here:x"):
        with pytest.raises(KafkaConfigurationError, match="bootstrap_servers"):
            get_kafka_producer(wrong)
    monkeypatch.setenv("KAFKA_TOPIC", "bad topic!")
    with pytest.raises(KafkaConfigurationError, match="KAFKA_TOPIC"):
        get_kafka_producer()


def test_no_secret_is_kept_beside_the_producer(monkeypatch):
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "airflow")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2-hunter2")
    get_kafka_producer()
    assert "hunter2" not in repr(vars(shared))


def test_a_publish_imports_nothing_that_a_fork_could_leave_half_imported():
    program = """
import sys
import airflow_integration
before = set(sys.modules)
airflow_integration.publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"raw": b"\\xff"}, timeout=0)
airflow_integration.get_kafka_producer().close()
assert "airflow" not in sys.modules and "pydantic" not in sys.modules
print(sorted(set(sys.modules) - before))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180)
    assert (ran.stdout, ran.returncode) == ("[]\n", 0), ran.stderr
