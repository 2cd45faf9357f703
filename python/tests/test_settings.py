"""The producer's settings: parameters, variables, defaults, and every mistake in them."""

import os
import re
from pathlib import Path
from typing import Any, Dict

import pytest
from kit.events import an_event
from workflow_events import KafkaConfigurationError, KafkaError, WorkflowEventProducer
from workflow_events.settings import DEFAULTS, ENVIRONMENT, Resolver

PASSWORD = "not-to-be-shown"


def resolved(environment: Dict[str, str], **given: Any) -> Dict[str, Any]:
    settings, mistakes = Resolver(environment).resolve({**dict.fromkeys(ENVIRONMENT), **given})
    assert mistakes == []
    return settings


def producer(**given: Any) -> WorkflowEventProducer:
    return WorkflowEventProducer(**{"connect_timeout": None, "spool_dir": False, **given})


def test_a_parameter_comes_before_its_variable_and_the_variable_before_the_default() -> None:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": " kafka:9092 ", "KAFKA_TOPIC": "events"}
    assert resolved({})["bootstrap_servers"] == "localhost:9092"
    assert resolved({})["topic"] == "workflow-events"
    assert resolved(environment)["bootstrap_servers"] == "kafka:9092"
    assert resolved(environment, bootstrap_servers="a:1", topic="t")["bootstrap_servers"] == "a:1"
    assert resolved(environment, bootstrap_servers=["a:1", "b:2"])["bootstrap_servers"] == "a:1,b:2"
    assert resolved({"KAFKA_TOPIC": ""})["topic"] == "workflow-events", "an empty variable is none"


def test_every_variable_is_read(tmp_path: Path) -> None:
    values = {variable: f"value-{number}" for number, variable in enumerate(ENVIRONMENT.values())}
    values["WORKFLOW_EVENTS_SPOOL_DIR"] = str(tmp_path)
    values["WORKFLOW_EVENTS_SPOOL_MAX_BYTES"] = "1000"
    found = resolved(values)
    assert found == {
        parameter: 1000 if parameter == "spool_max_bytes" else values[variable]
        for parameter, variable in ENVIRONMENT.items()
    }


def test_the_environment_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "first:9092")
    monkeypatch.setenv("KAFKA_TOPIC", "first")
    assert repr(producer()) == "WorkflowEventProducer(bootstrap_servers='first:9092', topic='first')"
    monkeypatch.setenv("KAFKA_TOPIC", "second")
    assert repr(producer()) == "WorkflowEventProducer(bootstrap_servers='first:9092', topic='second')"


@pytest.mark.parametrize(
    ("environment", "given", "folder"),
    [
        ({"WORKFLOW_EVENTS_SPOOL_DIR": "/spool"}, None, "/spool"),
        ({"WORKFLOW_EVENTS_SPOOL_DIR": "/spool"}, "/mine", "/mine"),
        ({"WORKFLOW_EVENTS_SPOOL_DIR": "/spool"}, Path("/mine"), "/mine"),
        ({"WORKFLOW_EVENTS_SPOOL_DIR": "/spool"}, False, None),
        ({"WORKFLOW_EVENTS_SPOOL_DIR": "off", "HOME": "/home/a"}, None, None),
        ({"WORKFLOW_EVENTS_SPOOL_DIR": "", "HOME": "/home/a"}, None, None),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/a"}, None, "/state/workflow-events/spool"),
        ({"XDG_STATE_HOME": "state", "HOME": "/home/a"}, None, "/home/a/.local/state/workflow-events/spool"),
        ({"HOME": "/home/a"}, None, "/home/a/.local/state/workflow-events/spool"),
    ],
)
def test_the_spool_is_where_it_is_said_to_be(environment: Dict[str, str], given: Any, folder: Any) -> None:
    assert resolved(environment, spool_dir=given).get("spool_dir") == folder


@pytest.mark.parametrize("home", ["", "/", "/nonexistent"])
def test_a_user_without_a_home_has_a_spool_among_the_temporary_files(home: str) -> None:
    assert re.search(r"/workflow-events-\d+/spool$", resolved({"HOME": home})["spool_dir"])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"acks": "some"}, "acks: expected 'all', '1' or '0', found 'some'"),
        ({"acks": True}, "acks: expected"),
        ({"retries": -1}, "retries: expected a whole number from 0 to 2147483647, found -1"),
        ({"retries": True}, "retries: expected a whole number"),
        ({"request_timeout_ms": "30000"}, "request_timeout_ms: expected a whole number"),
        ({"request_timeout_ms": 0}, "request_timeout_ms: expected 1 to 900000 ms, found 0"),
        ({"max_in_flight_requests_per_connection": 0}, "max_in_flight_requests_per_connection: expected 1 to"),
        ({"bootstrap_servers": 9092}, "bootstrap_servers (or the variable KAFKA_BOOTSTRAP_SERVERS): expected a string"),
        ({"bootstrap_servers": "kafka:port"}, "with a port from 1 to 65535, found a port that is no number"),
        ({"topic": "a/b"}, "topic (or the variable KAFKA_TOPIC): expected 1 to 249 of letters"),
        ({"client_id": ""}, "client_id: expected a name"),
        ({"compression_type": "zip"}, "compression_type: expected none, gzip, snappy, lz4 or zstd, found `zip`"),
        ({"linger_ms": 130000}, "linger_ms: expected less than delivery_timeout_ms"),
        ({"batch_size": 0}, "batch_size: expected 1 to"),
        (
            {"security_protocol": "TLS"},
            "security_protocol (or the variable KAFKA_SECURITY_PROTOCOL): expected PLAINTEXT",
        ),
        ({"sasl_username": "user"}, "PLAINTEXT does not authenticate"),
        (
            {"security_protocol": "SASL_SSL"},
            "sasl_mechanism (or the variable KAFKA_SASL_MECHANISM): SASL_SSL needs one of",
        ),
        (
            {"security_protocol": "SSL", "ssl_cafile": "/none.pem"},
            "ssl_cafile (or the variable KAFKA_SSL_CAFILE): /none.pem",
        ),
        ({"properties": {"acks": "1"}}, "properties.acks: use the setting acks"),
        ({"properties": {"lingerms": "1"}}, 'properties.lingerms: No such configuration property: "lingerms"'),
        ({"properties": ["linger.ms"]}, "properties: expected a dict of librdkafka's properties, found list"),
        ({"properties": {"client.rack": None}}, "properties: expected names and values as strings"),
        ({"spool_dir": 5}, "spool_dir (or the variable WORKFLOW_EVENTS_SPOOL_DIR): expected a path, found 5"),
        (
            {"connect_timeout": "soon"},
            "connect_timeout: expected seconds above 0, or None to look for no broker, found",
        ),
        ({"connect_timeout": -1}, "connect_timeout: expected seconds above 0, or None to look for no broker, found -1"),
        ({"connect_timeout": float("nan")}, "connect_timeout: expected seconds above 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(given: Dict[str, Any], complaint: str) -> None:
    with pytest.raises(KafkaConfigurationError, match=re.escape(complaint)) as caught:
        producer(**given)
    assert isinstance(caught.value, KafkaError)
    assert isinstance(caught.value, ValueError)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL-SSL")
    monkeypatch.setenv("WORKFLOW_EVENTS_SPOOL_MAX_BYTES", "1GB")
    with pytest.raises(KafkaConfigurationError) as caught:
        producer()
    assert str(caught.value) == (
        "the producer's settings are wrong: spool_max_bytes (from the variable WORKFLOW_EVENTS_SPOOL_MAX_BYTES): "
        "expected a whole number, found '1GB'; security_protocol (from the variable KAFKA_SECURITY_PROTOCOL): "
        "expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, found `SASL-SSL`"
    )
    monkeypatch.delenv("WORKFLOW_EVENTS_SPOOL_MAX_BYTES")
    with pytest.raises(
        KafkaConfigurationError, match=r"security_protocol \(from the variable KAFKA_SECURITY_PROTOCOL\)"
    ):
        producer()


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(KafkaConfigurationError) as caught:
        producer(bootstrap_servers="a b", topic="a b", compression_type="zip")
    assert all(name in str(caught.value) for name in ("bootstrap_servers", "topic", "compression_type"))


def test_a_password_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"sasl_username": "user", "sasl_password": PASSWORD, "properties": {"ssl.key.password": PASSWORD}}
    for more in ({"security_protocol": "SSLL"}, {"security_protocol": "SASL_SSL"}, {"sasl_mechanism": "PLANE"}):
        with pytest.raises(KafkaConfigurationError) as caught:
            producer(**given, **more)
        assert PASSWORD not in f"{caught.value!r} {caught.value}"
    for wrong in (5, PASSWORD.encode(), PASSWORD + "\ud800"):
        with pytest.raises(KafkaConfigurationError) as caught:
            producer(sasl_password=wrong)
        assert PASSWORD not in f"{caught.value!r} {caught.value}"
    made = producer(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="user",
        sasl_password=PASSWORD,
        properties={"ssl.key.password": PASSWORD},
    )
    assert PASSWORD not in f"{made!r} {made._native!r} {vars(made)}"


def test_every_default_is_one_that_the_producer_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENVIRONMENT.values():
        monkeypatch.delenv(variable, raising=False)
    assert set(DEFAULTS) <= set(resolved({}, **dict.fromkeys(DEFAULTS)))
    producer(**dict.fromkeys(DEFAULTS)).close()
    with producer() as made:
        assert repr(made) == "WorkflowEventProducer(bootstrap_servers='localhost:9092', topic='workflow-events')"


def test_without_any_folder_there_is_no_spool_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the working directory is gone, or a home that is no text."""

    def gone() -> str:
        raise FileNotFoundError("no working directory")

    assert "spool_dir" not in resolved({"HOME": "/\udcff"})
    assert "WORKFLOW_EVENTS_SPOOL_DIR" in caplog.text
    caplog.clear()
    monkeypatch.setattr(os, "getcwd", gone)
    assert "spool_dir" not in resolved({}, spool_dir="relative")
    assert "WORKFLOW_EVENTS_SPOOL_DIR" in caplog.text
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_tilde_is_the_users_home_and_a_relative_folder_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert resolved({"WORKFLOW_EVENTS_SPOOL_DIR": "~/spool"})["spool_dir"] == str(tmp_path / "spool")
    assert resolved({}, spool_dir="spool")["spool_dir"] == str(tmp_path / "spool")
    assert caplog.records == []
    assert resolved({"WORKFLOW_EVENTS_SPOOL_DIR": "spool"})["spool_dir"] == str(tmp_path / "spool")
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(tmp_path / "spool") in line and "set an absolute path" in line


def test_the_default_folder_is_the_one_that_the_command_line_finds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also among the temporary files, where TEMP and TMP are other programs' business."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert resolved({})["spool_dir"] == str(tmp_path / f"workflow-events-{os.geteuid()}/spool")
    home = {"HOME": str(tmp_path / "airflow")}
    assert resolved(home)["spool_dir"] == str(tmp_path / "airflow/.local/state/workflow-events/spool")
    state = {"XDG_STATE_HOME": str(tmp_path / "state"), **home}
    assert resolved(state)["spool_dir"] == str(tmp_path / "state/workflow-events/spool")


@pytest.mark.parametrize("variable", ["HOME", "XDG_STATE_HOME"])
def test_an_unwritable_home_is_skipped_with_a_warning_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, variable: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("WORKFLOW_EVENTS_SPOOL_DIR")
    monkeypatch.delenv("HOME")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    with producer(spool_dir=None) as made:
        assert made.spool_dir == str(tmp_path / f"workflow-events-{os.geteuid()}/spool")
        (line,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert variable in line.getMessage() and str(tmp_path / "file") in line.getMessage()
        assert made.publish_event_outcome(an_event(), timeout=0).status == "spooled"


def test_a_trailing_comma_in_the_list_of_servers_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with producer(bootstrap_servers="one:9092,two:9092, ") as made:
        assert made._native.bootstrap_servers == "one:9092,two:9092"
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092,")
    with producer() as made:
        assert made._native.bootstrap_servers == "one:9092"
    with pytest.raises(KafkaConfigurationError, match="found an empty entry"):
        producer(bootstrap_servers="one:9092,,two:9092")
