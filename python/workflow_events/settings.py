"""Turns the producer's parameters and the environment into settings of the native client, and reports every mistake.

A parameter that is None takes its variable, and a variable that is unset or empty takes the default. Its invariant:
what it returns has the types that the native client wants. The client checks the values, and its complaints are
reported under the parameter's name. No secret is part of a message. Names, variables and defaults are declared in Rust
(src/publish/builder/settings.rs); docs/python.md has the table.
"""

from __future__ import annotations

import os

from . import _native
from .checks import seconds
from .errors import KafkaConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Optional

    from ._native import Setting

_SETTINGS = {setting.name: setting for setting in _native.SETTINGS}

# Parameter -> variable.
ENVIRONMENT = {setting.name: setting.variable for setting in _native.SETTINGS if setting.variable is not None}

# Parameter -> what it is when neither it nor its variable is given. The spool's folder is chosen below.
DEFAULTS = {setting.name: setting.default for setting in _native.SETTINGS if setting.default is not None}


class Resolver:
    """Turns parameters into settings of the native client, and its mistakes into one error."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._taken_from: dict[str, str] = {}

    def resolve(self, given: Mapping[str, object]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The settings, without those that are None, and the mistakes in them: (setting, problem). A wrong value is
        replaced by the default, so that the native client can find the other mistakes."""
        settings: dict[str, Any] = {}
        mistakes: list[tuple[str, str]] = []
        for parameter, value in given.items():
            try:
                value = self._read(_SETTINGS[parameter], self._look_up(_SETTINGS[parameter], value))
            except _Mistake as mistake:
                mistakes.append((parameter, str(mistake)))
                value = DEFAULTS.get(parameter)
            if value is not None:
                settings[parameter] = value
        return settings, mistakes

    def error(self, mistakes: Iterable[tuple[str, str]]) -> KafkaConfigurationError:
        """One error for all mistakes: (setting, problem)."""
        lines = []
        for parameter, problem in mistakes:
            variable = ENVIRONMENT.get(parameter)
            if parameter in self._taken_from:
                parameter = f"{parameter} (from the variable {variable})"
            elif variable is not None:
                parameter = f"{parameter} (or the variable {variable})"
            lines.append(f"{parameter}: {problem}")
        return KafkaConfigurationError("the producer's settings are wrong: " + "; ".join(lines), kind="settings")

    def connect_timeout(self, value: Optional[float], mistakes: list[tuple[str, str]]) -> Optional[float]:
        """How long the constructor looks for a broker; None: it does not."""
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

    def _look_up(self, setting: Setting, value: object) -> object:
        if value is not None:
            return value
        if setting.variable is not None:
            found = self._environment.get(setting.variable, "")
            # A password may begin or end with a space.
            found = found if setting.kind == "secret" else found.strip()
            if found:
                self._taken_from[setting.name] = setting.variable
                return found
        if setting.name == "spool_dir":
            return self._default_spool()
        return setting.default

    def _read(self, setting: Setting, value: object) -> object:
        is_optional = setting.default is None and setting.kind != "properties"
        if value is None or (is_optional and value == ""):
            return None  # Empty text: no value, whatever the environment says.
        if setting.most is not None:
            return _integer(value, setting.most, setting.name in self._taken_from)
        if setting.name == "acks":
            return _acks(value)
        if setting.name == "bootstrap_servers" and isinstance(value, (list, tuple)):
            value = ",".join(_text(server) for server in value)
        if setting.name == "spool_dir":
            return self._spool(value)
        if setting.kind == "properties":
            return _properties(value)
        if setting.kind == "path" and not isinstance(value, str):
            return _path(value)
        return _text(value, secret=setting.kind == "secret")

    def _spool(self, value: object) -> object:
        if value is False:
            return None
        if value is True:
            return self._default_spool()
        # A shell expands it, an env file does not.
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
        """The same default folder as in Rust."""
        if "WORKFLOW_EVENTS_SPOOL_DIR" in self._environment:
            return None  # It is set, and empty.
        state, home = self._environment.get("XDG_STATE_HOME"), self._environment.get("HOME")
        try:
            chosen = _native.default_spool_folder(state, home)
        except (UnicodeError, TypeError) as error:
            return _no_spool(f"HOME or XDG_STATE_HOME cannot be read: {error}")
        if chosen is None:
            return None
        folder, warning = chosen
        if warning is not None:
            from .log import WARNING, log

            log(WARNING, "%s", warning)
        return folder


def _warn_of_relative(path: str, absolute: str) -> None:
    """Another process drains what this one spools, so both must use the same folder."""
    from .log import WARNING, log

    log(
        WARNING,
        "WORKFLOW_EVENTS_SPOOL_DIR is %s, which is %s from this working directory and elsewhere from another: "
        "set an absolute path",
        path,
        absolute,
    )


def _no_spool(reason: str) -> str | None:
    """Logs that there is no spool. Events can still be published."""
    from .log import ERROR, log

    log(ERROR, "no spool: %s. What Kafka does not take is lost: set WORKFLOW_EVENTS_SPOOL_DIR", reason)
    return None


class _Mistake(ValueError):
    """A wrong value. The message says what was expected and what was found."""


def _shown(value: object, secret: bool = False) -> str:
    return f"a value of type {type(value).__name__} (not shown)" if secret else repr(value)


def _text(value: object, secret: bool = False) -> str:
    if not isinstance(value, str):
        raise _Mistake(f"expected a string, found {_shown(value, secret)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Mistake("expected text, found text that is not valid UTF-8 (not shown)") from None
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
