"""What the producer is told, and every mistake in it.

Owns the defaults, and which variable of the environment stands in for which parameter: a parameter that is None takes
the variable, and a variable that is unset or empty takes the default. Its invariant: what it returns has the types that
the native half wants; the mistakes that are left are found there, and named here. No secret is part of a message.
"""

from __future__ import annotations

import os

from . import _native
from .checks import seconds
from .errors import KafkaConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Optional, Union

    Settings = dict[str, Any]
    Path = Union[str, os.PathLike[str]]

# Parameter -> variable. docs/python.md has the same table.
ENVIRONMENT = {
    "bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "topic": "KAFKA_TOPIC",
    "security_protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl_mechanism": "KAFKA_SASL_MECHANISM",
    "sasl_username": "KAFKA_SASL_USERNAME",
    "sasl_password": "KAFKA_SASL_PASSWORD",
    "ssl_cafile": "KAFKA_SSL_CAFILE",
    "ssl_certfile": "KAFKA_SSL_CERTFILE",
    "ssl_keyfile": "KAFKA_SSL_KEYFILE",
    "spool_dir": "WORKFLOW_EVENTS_SPOOL_DIR",
    "spool_max_bytes": "WORKFLOW_EVENTS_SPOOL_MAX_BYTES",
}

# Parameter -> what it is when neither it nor its variable is given. The spool's folder is below.
DEFAULTS = {
    "bootstrap_servers": "localhost:9092",
    "topic": "workflow-events",
    "client_id": "workflow-events",
    "acks": "all",
    "retries": 3,
    "max_in_flight_requests_per_connection": 1,
    "request_timeout_ms": 30_000,
    "delivery_timeout_ms": 120_000,
    "security_protocol": "PLAINTEXT",
    "spool_max_bytes": 268_435_456,
}

# What the native half calls a setting, where that differs.
_PARAMETERS = {"security.protocol": "security_protocol"}

_INTEGERS = {
    "retries": 2**31 - 1,
    "max_in_flight_requests_per_connection": 1_000_000,
    "request_timeout_ms": 900_000,
    "delivery_timeout_ms": 2**31 - 1,
    "linger_ms": 900_000,
    "batch_size": 2**31 - 1,
    "spool_max_bytes": 2**63 - 1,
}
_SECRETS = frozenset({"sasl_password"})


class Resolver:
    """Turns parameters into settings of the native half, and its complaints into ours."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._taken_from: dict[str, str] = {}

    def resolve(self, given: Mapping[str, object]) -> tuple[Settings, list[tuple[str, str]]]:
        """The settings, without those that are None, and the mistakes in them: (setting, problem). In the place of a
        mistake stands the default, so that the native half can find the others."""
        settings: Settings = {}
        mistakes: list[tuple[str, str]] = []
        for parameter, value in given.items():
            try:
                value = self._read(parameter, self._look_up(parameter, value))
            except _Mistake as mistake:
                mistakes.append((parameter, str(mistake)))
                value = DEFAULTS.get(parameter)
            if value is not None:
                settings[parameter] = value
        return settings, mistakes

    def error(self, mistakes: Iterable[tuple[str, str]]) -> KafkaConfigurationError:
        """One error for all mistakes: (setting, problem)."""
        lines = []
        for setting, problem in mistakes:
            parameter = _PARAMETERS.get(setting, setting.replace("security.", "", 1))
            variable = ENVIRONMENT.get(parameter)
            if parameter in self._taken_from:
                parameter = f"{parameter} (from the variable {variable})"
            elif variable is not None:
                parameter = f"{parameter} (or the variable {variable})"
            lines.append(f"{parameter}: {problem}")
        return KafkaConfigurationError("the producer's settings are wrong: " + "; ".join(lines), kind="settings")

    def connect_timeout(self, value: Optional[float], mistakes: list[tuple[str, str]]) -> Optional[float]:
        """How long a broker is looked for; None: not at all."""
        if value is None:
            return None
        try:
            within = seconds(value)
        except TypeError:
            within = 0.0
        if within <= 0:
            problem = f"expected seconds above 0, or None to look for no broker, found {value!r}"
            mistakes.append(("connect_timeout", problem))
        return within

    def _look_up(self, parameter: str, value: object) -> object:
        if value is not None:
            return value
        variable = ENVIRONMENT.get(parameter)
        if variable is not None:
            found = self._environment.get(variable, "")
            # A password is taken as it is.
            found = found if parameter in _SECRETS else found.strip()
            if found:
                self._taken_from[parameter] = variable
                return found
        if parameter == "spool_dir":
            return self._default_spool()
        return DEFAULTS.get(parameter)

    def _read(self, parameter: str, value: object) -> object:
        if value is None or (value == "" and parameter.startswith(("sasl_", "ssl_"))):
            return None  # An empty text: none, whatever the environment says.
        if parameter in _INTEGERS:
            return _integer(value, _INTEGERS[parameter], parameter in self._taken_from)
        if parameter == "acks":
            return _acks(value)
        if parameter == "bootstrap_servers" and isinstance(value, (list, tuple)):
            value = ",".join(_text(server) for server in value)
        if parameter == "properties":
            return _properties(value)
        if parameter == "spool_dir":
            return self._spool(value)
        if parameter.startswith("ssl_") and not isinstance(value, str):
            return _path(value)
        return _text(value, secret=parameter in _SECRETS)

    def _spool(self, value: object) -> object:
        if value is False:
            return None
        if value is True:
            return self._default_spool()
        # A shell has done this, an env file has not.
        path = os.path.expanduser(_path(value))
        from_variable = "spool_dir" in self._taken_from
        if not path or (from_variable and path.lower() == "off"):
            return None
        try:
            absolute = os.path.abspath(path)
            if from_variable and path != absolute and not os.path.isabs(path):
                _warn_of_relative(path, absolute)
            return absolute
        except OSError as error:
            return _no_spool(f"{path} is below the working directory, and there is none: {error}")

    def _default_spool(self) -> str | None:
        """The same folder as the Rust side of this project has."""
        if "WORKFLOW_EVENTS_SPOOL_DIR" in self._environment:
            return None  # It is there, and empty.
        state, home = self._environment.get("XDG_STATE_HOME"), self._environment.get("HOME")
        try:
            chosen = _native.default_spool_folder(state, home)
        except (UnicodeError, TypeError) as error:
            return _no_spool(f"HOME or XDG_STATE_HOME cannot be read: {error}")
        if chosen is None:
            return None
        folder, warning = chosen
        if warning is not None:
            from .log import WARNING, say

            say(WARNING, "%s", warning)
        return folder


def _warn_of_relative(path: str, absolute: str) -> None:
    """What one process spools, another drains: they have to find the same folder."""
    from .log import WARNING, say

    say(
        WARNING,
        "WORKFLOW_EVENTS_SPOOL_DIR is %s, which is %s from this working directory and elsewhere from another: "
        "set an absolute path",
        path,
        absolute,
    )


def _no_spool(reason: str) -> str | None:
    """An event can still go to Kafka; nobody may learn only later that nothing stands behind it."""
    from .log import say

    say(40, "no spool: %s. What Kafka does not take is lost: set WORKFLOW_EVENTS_SPOOL_DIR", reason)
    return None


class _Mistake(ValueError):
    """What was expected, what was found."""


def _shown(value: object, secret: bool = False) -> str:
    return f"a value of type {type(value).__name__} (not shown)" if secret else repr(value)


def _text(value: object, secret: bool = False) -> str:
    if not isinstance(value, str):
        raise _Mistake(f"expected a string, found {_shown(value, secret)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Mistake("expected text, found what has no form in UTF-8 (not shown)") from None
    return str(value)


def _path(value: object) -> str:
    try:
        path = os.fspath(value)  # type: ignore[call-overload]
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise _Mistake(f"expected a path, found {value!r}")
    return _text(path)


def _integer(value: object, most: int, from_text: bool) -> int:
    if from_text and isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise _Mistake(f"expected a whole number, found {value!r}") from None
    # A bool is an int to Python, and a mistake here.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _Mistake(f"expected a whole number from 0 to {most}, found {value!r}")
    return int(value)


def _acks(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text not in ("0", "1", "-1", "all"):
        raise _Mistake(f"expected 'all', '1' or '0', found {value!r}")
    return str(text)


def _properties(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _Mistake(f"expected a dict of librdkafka's properties, found {type(value).__name__}")
    properties: dict[str, str] = {}
    for name, setting in value.items():
        if not isinstance(name, str) or not isinstance(setting, (str, int, float)):
            raise _Mistake(f"expected names and values as strings, found {name!r} with a {type(setting).__name__}")
        properties[name] = str(setting).lower() if isinstance(setting, bool) else str(setting)
    return properties
