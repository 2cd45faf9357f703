"""docs/python.md says what the code does, and its programs run."""

import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest
from kit.programs import PATIENT
from kit.reader import Kafka
from kit.spool import SpoolFolder
from workflow_events import AsyncWorkflowEventProducer, Outcome, WorkflowEventProducer, errors
from workflow_events._native import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> List[List[str]]:
    """The cells of the table whose first heading this is, without the code marks around a whole cell."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in row.strip("|").split("|")] for row in table]


# Whether a function is one to be awaited, as frameworks ask.
AWAITED = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction


def test_the_parameters_are_the_declared_settings_with_their_defaults() -> None:
    for kind in (WorkflowEventProducer, AsyncWorkflowEventProducer):
        parameters = dict(inspect.signature(kind).parameters)
        assert parameters.pop("connect_timeout").default == 2.0, "it is no setting of the native client"
        assert list(parameters) == [setting.name for setting in SETTINGS]
        for setting in SETTINGS:
            assert parameters[setting.name].default in (None, setting.default), setting.name


def test_every_setting_is_documented_as_it_is_declared() -> None:
    documented: Dict[str, List[str]] = {row[0]: row[1:] for row in rows("parameter")}
    assert list(documented) == list(inspect.signature(WorkflowEventProducer).parameters)
    variable, default, what = documented["connect_timeout"]
    assert (variable, default) == ("", "2.0") and what
    for setting in SETTINGS:
        variable, default, what = documented[setting.name]
        assert variable == (setting.variable or "")
        assert what == setting.help
        if setting.default is not None:
            assert default == str(setting.default)
        described = WorkflowEventProducer.__doc__ or ""
        assert re.search(rf"^    (\w+, )*{setting.name}(, \w+)*:", described, re.MULTILINE), setting.name


def test_the_asyncio_face_has_the_same_parameters_and_calls() -> None:
    plain, awaited = inspect.signature(WorkflowEventProducer), inspect.signature(AsyncWorkflowEventProducer)
    assert plain == awaited
    for name, method in inspect.getmembers(WorkflowEventProducer, inspect.isfunction):
        if not name.startswith("_") and name != "connect":
            other = getattr(AsyncWorkflowEventProducer, "stop" if name == "close" else name)
            assert AWAITED(other)
            asks, gives = inspect.signature(method), inspect.signature(other).return_annotation
            assert asks.parameters == inspect.signature(other).parameters, name
            assert asks.return_annotation == re.sub(r"^Coroutine\[Any, Any, (.*)\]$", r"\1", gives), name


def test_every_call_is_documented_as_it_is_called() -> None:
    documented = {row[0].split("(")[0]: row[0] for row in rows("call")}
    for name, method in inspect.getmembers(WorkflowEventProducer, inspect.isfunction):
        if name.startswith("_") or name == "connect":
            continue
        parameters = list(inspect.signature(method).parameters.values())[1:]
        shown = ", ".join(
            parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default}"
            for parameter in parameters
        )
        assert documented.pop(name, None) == f"{name}({shown})"
    assert documented == {}


def test_every_error_is_documented_and_every_field_of_an_outcome() -> None:
    names = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert {re.findall(r"\w+", row[0])[0] for row in rows("error") if "pydantic" not in row[0]} == names
    fields = [name for name in vars(Outcome) if not name.startswith("_") and name != "published"]
    (listed,) = re.findall(r"that `Outcome` \(([^)]*)\)", PAGE)
    assert set(re.findall(r"`(\w+)`", listed)) == set(fields)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_page_publishes(
    number: int, kafka: Kafka, topic: str, spool: SpoolFolder, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[number])
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "KAFKA_TOPIC": topic}
    command = [sys.executable, "-W", "error", str(PATIENT), str(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert len(kafka.read(topic)) == (2000 if "enqueue_event" in PROGRAMS[number] else 1)
    assert spool.everything() == []


def test_there_are_programs_on_the_page() -> None:
    assert len(PROGRAMS) >= 4
