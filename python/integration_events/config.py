"""The settings of a service: for its publisher, and for a consumer of its events.

Owns their names, defaults and checks. Each comes from its keyword, else from its variable of the environment, else it
has its default. Its invariant: every wrong and every unknown setting is in one error, and no message, no repr and no
pickle has the password. The settings of Kafka are checked by the client of `workflow_events`, which reads the TLS files
and connects to nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Callable, NamedTuple, NoReturn, Optional, Union

from pydantic import SecretStr
from workflow_events import _native
from workflow_events.checks import seconds

from .errors import KafkaConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Path = Union[str, os.PathLike[str]]

#: Requests in flight on one connection. With more than 5 librdkafka is not idempotent.
_IDEMPOTENT, _NOT_IDEMPOTENT = 1, 6
#: Given to the client, which needs a valid one. Every record has a topic of its own.
_TOPIC = "integration-events"
_MOST = 2**31 - 1
#: How a client reaches Kafka: the same of the producer and of the consumer.
_CONNECTION = (
    "bootstrap_servers",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "service_name",
)
#: Seconds that calls have when the group takes their partition away. It is below the session.
_DRAIN = 8.0


class _Mistake(ValueError):
    """A wrong value. The message says what was expected and what was found."""


class Field(NamedTuple):
    """A setting.

    read: makes a keyword's value, or a variable's text, a value of the setting. Raises `_Mistake`.
    default: what it is when neither is given.
    setting: that of the client which checks it and has it: of the producer.
    consumer_setting: as this, of the consumer.
    takes_none: None is a value, and not the same as absent.
    """

    read: Callable[[Any], Any]
    default: Any = None
    setting: Optional[str] = None
    takes_none: bool = False
    consumer_setting: Optional[str] = None


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise _Mistake(f"expected a text, found {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Mistake("expected text, found text that is not valid UTF-8 (not shown)") from None
    return value or None


def _servers(value: Any) -> Any:
    return ",".join(str(_text(server)) for server in value) if isinstance(value, (list, tuple)) else _text(value)


def _secret(value: Any) -> Any:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str):
        raise _Mistake(f"expected a text, found a value of type {type(value).__name__} (not shown)")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Mistake("expected text, found text that is not valid UTF-8 (not shown)") from None
    return SecretStr(value) if value else None


def _path(value: Any) -> Any:
    try:
        return _text(os.fspath(value))
    except TypeError:
        raise _Mistake(f"expected a path, found {value!r}") from None


def _spool(value: Any) -> Any:
    return value if isinstance(value, bool) else _path(value)


def _acks(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _switch(value: Any) -> Any:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    found = words.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise _Mistake(f"expected true or false, found {value!r}")
    return found


def _number(least: int, most: int = _MOST) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        found = value
        if isinstance(value, str):
            try:
                found = int(value)
            except ValueError:
                found = None
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise _Mistake(f"expected a whole number from {least} to {most}, found {value!r}")
        return int(found)

    return read


def _seconds(least: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, str) and value.strip().lower() == "none":
            return None
        try:
            found = seconds(value)
        except TypeError:
            found = -1.0
        # `seconds` makes what is no number above 0 a 0.
        is_zero = found == 0 and least == "from 0" and float(value) == 0
        if isinstance(value, bool) or not (found > 0 or is_zero):
            raise _Mistake(f"expected seconds {least}, or None, found {value!r}")
        return found

    return read


def _choice(*names: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in names:
            raise _Mistake(f"expected {' or '.join(names)}, found {value!r}")
        return value

    return read


def _no_auto_commit(value: Any) -> Any:
    if _switch(value):
        raise _Mistake("expected false: with automatic commits an event that is being handled is lost in a crash")
    return False


def _suffix(value: Any) -> Any:
    if not isinstance(value, str) or not value or not value.isascii():
        raise _Mistake(f"expected letters, digits, `.`, `_` and `-`, found {value!r}")
    if not all(character.isalnum() or character in "._-" for character in value):
        raise _Mistake(f"expected letters, digits, `.`, `_` and `-`, found {value!r}")
    return value


#: Every setting, in the order of the documentation.
FIELDS: dict[str, Field] = {
    "bootstrap_servers": Field(_servers, "localhost:9092", "bootstrap_servers"),
    "security_protocol": Field(_text, "PLAINTEXT", "security_protocol"),
    "sasl_mechanism": Field(_text, None, "sasl_mechanism"),
    "sasl_username": Field(_text, None, "sasl_username"),
    "sasl_password": Field(_secret, None, "sasl_password"),
    "ssl_cafile": Field(_path, None, "ssl_cafile"),
    "ssl_certfile": Field(_path, None, "ssl_certfile"),
    "ssl_keyfile": Field(_path, None, "ssl_keyfile"),
    "service_name": Field(_text, None, "client_id"),
    "producer_acks": Field(_acks, "all", "acks"),
    "producer_retries": Field(_number(0), 3, "retries"),
    "producer_batch_size": Field(_number(1), None, "batch_size"),
    "producer_linger_ms": Field(_number(0), 0, "linger_ms"),
    "producer_compression_type": Field(_text, "none", "compression_type"),
    "enable_idempotence": Field(_switch),
    "connect_timeout": Field(_seconds("above 0"), 2.0, takes_none=True),
    "publish_timeout": Field(_seconds("from 0"), 10.0, takes_none=True),
    "spool_dir": Field(_spool),
    "consumer_group_id": Field(_text, consumer_setting="group_id"),
    "consumer_auto_offset_reset": Field(
        _choice("earliest", "latest"), "earliest", consumer_setting="auto_offset_reset"
    ),
    "consumer_enable_auto_commit": Field(_no_auto_commit, False),
    "consumer_max_poll_records": Field(_number(1), 500, consumer_setting="max_poll_records"),
    "consumer_session_timeout_ms": Field(_number(1), 45_000, consumer_setting="session_timeout_ms"),
    "consumer_heartbeat_interval_ms": Field(_number(1), 3_000, consumer_setting="heartbeat_interval_ms"),
    "enable_dlq": Field(_switch, True),
    "dlq_topic_suffix": Field(_suffix, ".dlq", consumer_setting="dlq_topic_suffix"),
    "max_retry_attempts": Field(_number(0), 3),
    "retry_backoff_ms": Field(_number(1), 500),
    "retry_backoff_max_ms": Field(_number(1), 60_000),
    "handler_concurrency": Field(_number(1, 10_000), 8),
    "handler_timeout": Field(_seconds("above 0"), None, takes_none=True),
    "data_dir": Field(_path, consumer_setting="data_dir"),
}


def variable_of(name: str) -> Optional[str]:
    """The variable of the environment that stands in for a keyword. The spool's is read by the client."""
    return None if name == "spool_dir" else f"KAFKA_{name.upper()}"


class KafkaConfig:
    """Settings of Kafka, of the publisher, and of a consumer. Each is a keyword, else `KAFKA_<NAME>`, else its default.

    docs/integration-events.md has the table. A configuration does not change. Raises KafkaConfigurationError, a
    ValueError, which names every setting that is wrong or unknown.
    """

    bootstrap_servers: str
    security_protocol: str
    sasl_mechanism: Optional[str]
    sasl_username: Optional[str]
    sasl_password: Optional[SecretStr]
    ssl_cafile: Optional[str]
    ssl_certfile: Optional[str]
    ssl_keyfile: Optional[str]
    service_name: Optional[str]
    producer_acks: str
    producer_retries: int
    producer_batch_size: Optional[int]
    producer_linger_ms: int
    producer_compression_type: str
    enable_idempotence: bool
    connect_timeout: Optional[float]
    publish_timeout: Optional[float]
    spool_dir: Union[str, bool, None]
    consumer_group_id: Optional[str]
    consumer_auto_offset_reset: str
    consumer_enable_auto_commit: bool
    consumer_max_poll_records: int
    consumer_session_timeout_ms: int
    consumer_heartbeat_interval_ms: int
    enable_dlq: bool
    dlq_topic_suffix: str
    max_retry_attempts: int
    retry_backoff_ms: int
    retry_backoff_max_ms: int
    handler_concurrency: int
    handler_timeout: Optional[float]
    data_dir: Optional[str]

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            bootstrap_servers: Union[str, list[str], tuple[str, ...], None] = None,
            security_protocol: Optional[str] = None,
            sasl_mechanism: Optional[str] = None,
            sasl_username: Optional[str] = None,
            sasl_password: Union[str, SecretStr, None] = None,
            ssl_cafile: Optional[Path] = None,
            ssl_certfile: Optional[Path] = None,
            ssl_keyfile: Optional[Path] = None,
            service_name: Optional[str] = None,
            producer_acks: Union[str, int, None] = None,
            producer_retries: Optional[int] = None,
            producer_batch_size: Optional[int] = None,
            producer_linger_ms: Optional[int] = None,
            producer_compression_type: Optional[str] = None,
            enable_idempotence: Optional[bool] = None,
            connect_timeout: Optional[float] = 2.0,
            publish_timeout: Optional[float] = 10.0,
            spool_dir: Union[Path, Literal[False], None] = None,
            consumer_group_id: Optional[str] = None,
            consumer_auto_offset_reset: Optional[str] = None,
            consumer_enable_auto_commit: Optional[bool] = None,
            consumer_max_poll_records: Optional[int] = None,
            consumer_session_timeout_ms: Optional[int] = None,
            consumer_heartbeat_interval_ms: Optional[int] = None,
            enable_dlq: Optional[bool] = None,
            dlq_topic_suffix: Optional[str] = None,
            max_retry_attempts: Optional[int] = None,
            retry_backoff_ms: Optional[int] = None,
            retry_backoff_max_ms: Optional[int] = None,
            handler_concurrency: Optional[int] = None,
            handler_timeout: Optional[float] = None,
            data_dir: Optional[Path] = None,
        ) -> None: ...

    else:

        def __init__(self, **given: Any) -> None:
            self.__dict__.update(_Reading(os.environ).read(given))

    def producer_parameters(self) -> dict[str, Any]:
        """The parameters of the client's producer. The environment changes none of them but those of the spool."""
        settings = _settings(self.__dict__)
        # Empty text: no value, whatever the environment says.
        optional = ("sasl_mechanism", "sasl_username", "sasl_password", "ssl_cafile", "ssl_certfile", "ssl_keyfile")
        absent = {name: "" for name in optional if name not in settings}
        return {**absent, **settings, "connect_timeout": self.connect_timeout, "spool_dir": self.spool_dir}

    def consumer_parameters(self) -> dict[str, Any]:
        """The settings of the native consumer, without its topics. The environment changes none of them but the default
        of `data_dir`. Raises KafkaConfigurationError without a group."""
        if self.consumer_group_id is None:
            raise KafkaConfigurationError(
                "a consumer needs a group, and consumers of one group share the events: give consumer_group_id (or the "
                "variable KAFKA_CONSUMER_GROUP_ID) or service_name (or KAFKA_SERVICE_NAME)",
                kind="settings",
            )
        return _consumer_settings(self.__dict__)

    def handler_options(self) -> _native.HandlerOptions:
        """The options of each handler, for the native consumer."""
        return _handler_options(self.__dict__)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a KafkaConfig does not change: make another one with its own {name}")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, KafkaConfig) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.__dict__.items() if value != FIELDS[name].default)
        return f"KafkaConfig({', '.join(shown)})"

    def __copy__(self) -> KafkaConfig:
        return self

    def __deepcopy__(self, memo: object) -> KafkaConfig:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.sasl_password is not None:
            raise TypeError("a KafkaConfig with a password is not pickled: make one in each process")
        return _restored, (dict(self.__dict__),)


def _restored(values: dict[str, Any]) -> KafkaConfig:
    config = KafkaConfig.__new__(KafkaConfig)
    config.__dict__.update(values)
    return config


class _Reading:
    """Reads settings, and collects the mistakes in them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._taken_from: dict[str, str] = {}
        self._mistakes: list[tuple[str, str]] = []

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all settings. Raises KafkaConfigurationError with every mistake."""
        for name in given.keys() - FIELDS.keys():
            close = get_close_matches(name, FIELDS, 1)
            advice = f": did you mean {close[0]}?" if close else ""
            self._mistakes.append((name, f"there is no such setting{advice}"))
        self._mistakes.sort()
        values = {name: self._value(name, field, given) for name, field in FIELDS.items()}
        self._check_together(values)
        self._check_by_client(values)
        if self._mistakes:
            problems = "; ".join(f"{self._named(name)}: {problem}" for name, problem in self._mistakes)
            raise KafkaConfigurationError(f"the settings of KafkaConfig are wrong: {problems}", kind="settings")
        if values["consumer_group_id"] is None:
            values["consumer_group_id"] = values["service_name"]
        return values

    def _value(self, name: str, field: Field, given: Mapping[str, Any]) -> Any:
        if name in given and (given[name] is not None or field.takes_none):
            found = given[name]
        else:
            variable = variable_of(name)
            found = self._environment.get(variable, "") if variable is not None else ""
            # A password may begin or end with a space.
            found = found if field.read is _secret else found.strip()
            if not found or variable is None:
                return field.default
            self._taken_from[name] = variable
        if found is None:
            return None
        try:
            read = field.read(found)
        except _Mistake as mistake:
            self._mistakes.append((name, str(mistake)))
            return field.default
        return field.default if read is None and not field.takes_none else read

    def _check_together(self, values: dict[str, Any]) -> None:
        acks, retries = values["producer_acks"], values["producer_retries"]
        can_be = acks in ("all", "-1") and retries > 0
        if values["enable_idempotence"] is None:
            values["enable_idempotence"] = can_be
        elif values["enable_idempotence"] and not can_be:
            found = f"found producer_acks={acks!r} and producer_retries={retries}"
            self._mistakes.append(
                ("enable_idempotence", f"expected producer_acks='all' and producer_retries above 0 with it, {found}")
            )
        for less, more in (
            ("consumer_heartbeat_interval_ms", "consumer_session_timeout_ms"),
            ("retry_backoff_ms", "retry_backoff_max_ms"),
        ):
            if values[less] > values[more]:
                found = f"found {values[less]} and {values[more]}"
                self._mistakes.append((less, f"expected at most as much as {more}, {found}"))

    def _check_by_client(self, values: dict[str, Any]) -> None:
        of_producer: dict[Optional[str], str] = {field.setting: name for name, field in FIELDS.items()}
        self._check(of_producer, lambda: _native.Publisher(**_settings(values)))
        # A service that only publishes needs neither a group nor a folder.
        spared = {"group_id": values["consumer_group_id"] or _TOPIC, "topics": [_TOPIC], "home": "/"}
        of_consumer = {**_consumer_settings(values), **spared}
        handlers = [("handler", "Event", _handler_options(values))]
        self._check(_consumer_names(), lambda: _native.Consumer(handlers, **of_consumer))

    def _check(self, names: Mapping[Optional[str], str], make: Callable[[], object]) -> None:
        """Adds what a client says of settings of which nothing is known to be wrong yet.

        names: ours, by the client's.
        """
        wrong = {name for name, _ in self._mistakes}
        try:
            make()
        except _native.SettingsError as error:
            for setting, problem in error.args[0]:
                name = names.get(setting, setting)
                if name not in wrong:
                    self._mistakes.append((name, problem))

    def _named(self, name: str) -> str:
        if name in self._taken_from:
            return f"{name} (from the variable {self._taken_from[name]})"
        variable = variable_of(name) if name in FIELDS else None
        return name if variable is None else f"{name} (or the variable {variable})"


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the client, without those that are absent."""
    in_flight = _IDEMPOTENT if values["enable_idempotence"] else _NOT_IDEMPOTENT
    settings = {"topic": _TOPIC, "client_id": _TOPIC, "max_in_flight_requests_per_connection": in_flight}
    for name, field in FIELDS.items():
        value = values[name]
        if field.setting is not None and value is not None:
            settings[field.setting] = value.get_secret_value() if isinstance(value, SecretStr) else value
    return settings


def _consumer_names() -> dict[Optional[str], str]:
    """The settings by their names in the native consumer."""
    names: dict[Optional[str], str] = {FIELDS[name].setting: name for name in _CONNECTION}
    names.update({field.consumer_setting: name for name, field in FIELDS.items() if field.consumer_setting is not None})
    return {**names, "drain_timeout": "consumer_session_timeout_ms"}


def consumer_error(problems: Iterable[tuple[str, str]]) -> KafkaConfigurationError:
    """What the native consumer says is wrong, under the names of the settings here."""
    names = _consumer_names()
    text = "; ".join(f"{names.get(setting, setting)}: {problem}" for setting, problem in problems)
    return KafkaConfigurationError(f"the consumer cannot be started: {text}", kind="settings")


def _consumer_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the native consumer, without those that are absent."""
    settings: dict[str, Any] = {
        "client_id": _TOPIC,
        "drain_timeout": min(_DRAIN, values["consumer_session_timeout_ms"] / 2000),
        # For the default of `data_dir`.
        "state_home": os.environ.get("XDG_STATE_HOME"),
        "home": os.environ.get("HOME"),
    }
    for name, field in FIELDS.items():
        value, setting = values[name], field.setting if name in _CONNECTION else field.consumer_setting
        if setting is not None and value is not None:
            settings[setting] = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not values["enable_dlq"]:
        settings["dlq_topic_suffix"] = None
    return settings


def _handler_options(values: Mapping[str, Any]) -> _native.HandlerOptions:
    return {
        "concurrency": values["handler_concurrency"],
        "max_retries": values["max_retry_attempts"],
        "backoff": values["retry_backoff_ms"] / 1000,
        "backoff_max": values["retry_backoff_max_ms"] / 1000,
    }
