"""The shared producer: one for each process and settings, whoever closes it."""

import os
import warnings

import pytest
from airflow_integration import get_kafka_producer, publish_dag_completion_event, publish_workflow_event
from kit.spool import SpoolFolder

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


def test_without_a_usable_address_the_event_is_in_the_log(spool, monkeypatch, caplog):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "no port here:x")
    assert publish_workflow_event("WORKFLOW_COMPLETED", "etl", "run-1", {"a": 1}) is False
    assert spool.files() == []
    assert "KAFKA_BOOTSTRAP_SERVERS" in caplog.text
