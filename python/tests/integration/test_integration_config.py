"""The settings: keyword, variable, default; every mistake at once; no password anywhere."""

import copy
import pickle
import traceback
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
from integration_events import KafkaConfig, KafkaConfigurationError, KafkaIntegrationEventPublisher
from integration_events.config import FIELDS, variable_of
from pydantic import SecretStr

SECRET = " not-to-be-shown "

# For each setting a value, the text of it in a variable, and what it is then.
VALUES: Dict[str, Tuple[Any, str, Any]] = {
    "bootstrap_servers": (["a:1", "b:2"], "a:1,b:2", "a:1,b:2"),
    "security_protocol": ("SASL_PLAINTEXT", "SASL_PLAINTEXT", "SASL_PLAINTEXT"),
    "sasl_mechanism": ("PLAIN", "PLAIN", "PLAIN"),
    "sasl_username": ("ada", "ada", "ada"),
    "sasl_password": (SECRET, SECRET, SECRET),
    "service_name": ("user-service", "user-service", "user-service"),
    "producer_acks": (1, "1", "1"),
    "producer_retries": (5, "5", 5),
    "producer_batch_size": (32768, "32768", 32768),
    "producer_linger_ms": (50, "50", 50),
    "producer_compression_type": ("zstd", "zstd", "zstd"),
    "enable_idempotence": (False, "false", False),
    "connect_timeout": (None, "None", None),
    "publish_timeout": (0, "0", 0.0),
    "consumer_group_id": ("group", "group", "group"),
    "consumer_auto_offset_reset": ("latest", "latest", "latest"),
    "consumer_enable_auto_commit": (False, "off", False),
    "consumer_max_poll_records": (1000, "1000", 1000),
    "consumer_session_timeout_ms": (60000, "60000", 60000),
    "consumer_heartbeat_interval_ms": (5000, "5000", 5000),
    "enable_dlq": (False, "no", False),
    "dlq_topic_suffix": (".dead", ".dead", ".dead"),
    "max_retry_attempts": (0, "0", 0),
    "retry_backoff_ms": (1, "1", 1),
    "retry_backoff_max_ms": (1000, "1000", 1000),
    "handler_concurrency": (1, "1", 1),
    "handler_timeout": (2.5, "2.5", 2.5),
    "data_dir": (Path("/data"), "/data", "/data"),
}
FILES = {"ssl_cafile", "ssl_certfile", "ssl_keyfile"}


def values(config: KafkaConfig) -> Dict[str, Any]:
    found = {name: getattr(config, name) for name in VALUES}
    found["sasl_password"] = found["sasl_password"].get_secret_value()
    return found


def test_every_setting_is_a_keyword_or_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(VALUES) | FILES | {"spool_dir"} == set(FIELDS)
    expected = {name: value for name, (_, _, value) in VALUES.items()}
    given = KafkaConfig(**{name: value for name, (value, _, _) in VALUES.items()})
    assert values(given) == expected
    for name, (_, text, _) in VALUES.items():
        variable = variable_of(name)
        assert variable is not None
        monkeypatch.setenv(variable, text)
    assert values(KafkaConfig()) == expected
    assert KafkaConfig() == given and hash(KafkaConfig()) == hash(given)
    keyword = KafkaConfig(service_name="other", producer_retries=7, connect_timeout=1.5)
    assert (keyword.service_name, keyword.producer_retries, keyword.connect_timeout) == ("other", 7, 1.5)
    assert keyword.consumer_group_id == "group"


def test_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SERVICE_NAME", "")
    config = KafkaConfig()
    for name, field in FIELDS.items():
        if name != "enable_idempotence":
            assert getattr(config, name) == field.default, name
    assert config.enable_idempotence is True
    assert KafkaConfig(service_name="users").consumer_group_id == "users"
    assert KafkaConfig(producer_acks="1").enable_idempotence is False, "as Kafka's own client has it"
    assert KafkaConfig(producer_retries=0).enable_idempotence is False


def test_every_mistake_is_in_one_error_with_its_name_and_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PRODUCER_LINGER_MS", "soon")
    monkeypatch.setenv("KAFKA_CONSUMER_ENABLE_AUTO_COMMIT", "true")
    with pytest.raises(KafkaConfigurationError) as caught:
        KafkaConfig(  # type: ignore[call-arg]
            consumer_grup_id="g",
            nonsense=1,
            bootstrap_servers="no port",
            security_protocol="TLS",
            producer_acks="2",
            producer_retries=-1,
            producer_compression_type="zip",
            enable_idempotence="maybe",
            connect_timeout=0,
            publish_timeout=-1,
            consumer_auto_offset_reset="none",
            dlq_topic_suffix="/dlq",
            retry_backoff_ms=70_000,
            handler_timeout=True,
            ssl_cafile=7,
            service_name="a\nb",
        )
    message = str(caught.value)
    for problem in (
        "consumer_grup_id: there is no such setting: did you mean consumer_group_id?",
        "nonsense: there is no such setting;",
        "bootstrap_servers (or the variable KAFKA_BOOTSTRAP_SERVERS): ",
        "security_protocol (or the variable KAFKA_SECURITY_PROTOCOL): ",
        "producer_acks (or the variable KAFKA_PRODUCER_ACKS): expected `all`, `1` or `0`, found `2`",
        "producer_retries (or the variable KAFKA_PRODUCER_RETRIES): expected a whole number from 0 to",
        "producer_linger_ms (from the variable KAFKA_PRODUCER_LINGER_MS): expected a whole number",
        "producer_compression_type (or the variable KAFKA_PRODUCER_COMPRESSION_TYPE): expected none, gzip",
        "enable_idempotence (or the variable KAFKA_ENABLE_IDEMPOTENCE): expected true or false, found 'maybe'",
        "connect_timeout (or the variable KAFKA_CONNECT_TIMEOUT): expected seconds above 0, or None, found 0",
        "publish_timeout (or the variable KAFKA_PUBLISH_TIMEOUT): expected seconds from 0, or None, found -1",
        "consumer_auto_offset_reset (or the variable KAFKA_CONSUMER_AUTO_OFFSET_RESET): expected earliest or latest",
        "consumer_enable_auto_commit (from the variable KAFKA_CONSUMER_ENABLE_AUTO_COMMIT): expected false: with auto",
        "dlq_topic_suffix (or the variable KAFKA_DLQ_TOPIC_SUFFIX): expected letters, digits",
        "retry_backoff_ms (or the variable KAFKA_RETRY_BACKOFF_MS): expected at most as much as retry_backoff_max_ms",
        "handler_timeout (or the variable KAFKA_HANDLER_TIMEOUT): expected seconds above 0, or None, found True",
        "ssl_cafile (or the variable KAFKA_SSL_CAFILE): expected a path, found 7",
        "service_name (or the variable KAFKA_SERVICE_NAME): expected a name without control characters",
    ):
        assert problem in message, problem
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("more", [{"producer_acks": "1"}, {"producer_retries": 0}])
def test_idempotence_that_is_asked_for_needs_all_replicas_and_retries(more: Dict[str, Any]) -> None:
    with pytest.raises(KafkaConfigurationError, match="enable_idempotence.*expected producer_acks='all'"):
        KafkaConfig(enable_idempotence=True, **more)


def test_the_password_is_shown_nowhere(tmp_path: Path) -> None:
    secured: Dict[str, Any] = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "ada",
        "sasl_password": SECRET,
    }
    config = KafkaConfig(**secured)
    assert config.sasl_password is not None and config.sasl_password.get_secret_value() == SECRET
    publisher = KafkaIntegrationEventPublisher(config)
    assert KafkaConfig(**{**secured, "sasl_password": config.sasl_password}) == config
    shown = [repr(config), str(config), repr(vars(config)), repr(publisher), str(config.sasl_password)]
    with pytest.raises(TypeError, match="with a password is not pickled") as unpickled:
        pickle.dumps(config)
    with pytest.raises(KafkaConfigurationError) as wrong:
        KafkaConfig(**{**secured, "sasl_mechanism": "ROT13"}, unknown=SECRET)
    with pytest.raises(KafkaConfigurationError) as typed:
        KafkaConfig(**{**secured, "sasl_password": [SECRET]})
    with pytest.raises(KafkaConfigurationError, match="sasl_password.*not valid UTF-8") as unsound:
        KafkaConfig(**{**secured, "sasl_password": SecretStr(SECRET + "\ud800")})
    assert "not-to-be-shown" not in repr((unsound.value.__cause__, unsound.value.__context__))
    for caught in (unpickled, wrong, typed, unsound):
        shown.append("".join(traceback.format_exception(caught.type, caught.value, caught.tb)))
    for text in shown:
        assert "not-to-be-shown" not in text
    assert "sasl_password=SecretStr('**********')" in repr(config)


def test_a_configuration_does_not_change_and_is_copied_and_pickled() -> None:
    config = KafkaConfig(service_name="users", publish_timeout=None)
    with pytest.raises(AttributeError, match="does not change: make another one with its own service_name"):
        config.service_name = "other"
    with pytest.raises(AttributeError, match="does not change"):
        del config.service_name
    assert copy.copy(config) == copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    assert config != KafkaConfig(service_name="users")
    shown = (
        "KafkaConfig(service_name='users', enable_idempotence=True, publish_timeout=None, consumer_group_id='users')"
    )
    assert repr(config) == shown
