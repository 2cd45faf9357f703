"""docs/integration-events.md says what the code does, its programs run, and so do the snippets of the guide."""

import asyncio
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List

import httpx
import integration_events
import pytest
from integration_events import DomainEvent, EventMapper, IntegrationEvent, KafkaConfig, errors
from integration_events.config import FIELDS, variable_of
from kit.programs import PATIENT
from kit.reader import Kafka
from kit.spool import SpoolFolder
from pydantic import ValidationError
from workflow_events import __version__

PAGE = (Path(__file__).parents[3] / "docs" / "integration-events.md").read_text()
GUIDES = Path(__file__).parent / "guide"
ALIASES = Path(__file__).parents[2] / "aliases"


def blocks(language: str) -> List[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


PROGRAMS = [program for program in blocks("python") if "FastAPI" not in program]


def rows(heading: str) -> List[List[str]]:
    """The cells of the tables whose first heading this is, without the code marks around a whole cell."""
    found = []
    for table in PAGE.split(f"| {heading} |")[1:]:
        for row in table.split("\n\n", 1)[0].splitlines()[2:]:
            found.append([re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in row.strip("|").split("|")])
    return found


def test_every_setting_is_documented_with_its_variable_and_default() -> None:
    documented = {row[0]: row[1:] for row in rows("setting")}
    assert list(documented) == list(FIELDS)
    for name, field in FIELDS.items():
        variable, default, what = documented[name]
        assert variable == (variable_of(name) or "WORKFLOW_EVENTS_SPOOL_DIR"), name
        assert default == ("" if field.default is None else str(field.default)), name
        assert what, name
    assert list(inspect.get_annotations(KafkaConfig)) == list(FIELDS)


def test_every_field_of_an_event_and_every_error_is_documented() -> None:
    fields = [name for row in rows("field of `IntegrationEvent`") for name in re.findall(r"\w+", row[0])]
    assert sorted(fields) == sorted(IntegrationEvent.model_fields)
    names = {name for name in errors.__all__}
    documented = {re.findall(r"\w+", row[0])[0] for row in rows("error")}
    assert documented == names | {"ValueError", "RuntimeError"}
    for name in integration_events.__all__:
        assert name in PAGE or name == "IntegrationEventMediator", name


def test_the_envelope_of_the_page_is_one() -> None:
    (text,) = blocks("json")
    assert list(json.loads(text)) == list(IntegrationEvent().to_dict())


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_page_publishes(number: int, kafka: Kafka, spool: SpoolFolder, tmp_path: Path) -> None:
    topics = ["integration-events.user_created", "invoices.paid.v1"]
    for topic in topics:
        kafka.create_topic(topic)
    before = sum(len(kafka.read(topic)) for topic in topics)
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[number])
    command = [sys.executable, "-W", "error", str(PATIENT), str(program)]
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert sum(len(kafka.read(topic)) for topic in topics) - before == (2 if "InvoicePaid" in PROGRAMS[number] else 1)
    assert spool.everything() == []


def application(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # FastAPI looks annotations up in the module.
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module.app


def ask(app: Any, **parameters: str) -> httpx.Response:
    async def scene() -> httpx.Response:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=300) as client:
                return await client.post("/users", params=parameters)

    return asyncio.run(scene())


def test_the_application_of_the_page_publishes_between_its_start_and_its_end(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, patient: None, tmp_path: Path
) -> None:
    (program,) = [program for program in blocks("python") if "FastAPI" in program]
    kafka.create_topic("integration-events.user_created")
    before = len(kafka.read("integration-events.user_created"))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    path = tmp_path / "page_application.py"
    path.write_text(program)
    answer = ask(application(path), email="ada@example.com")
    assert (answer.status_code, answer.json()) == (200, {"status": "published"})
    (record,) = kafka.read("integration-events.user_created")[before:]
    assert record.event["payload"]["email"] == "ada@example.com"
    assert record.event["source_service"] == "user-service"


# What each program of the guide publishes: (topic, key, type) of each record.
CREATED = ("integration-events.user_created", None, "UserCreatedIntegrationEvent")
PROMISES: Dict[str, List[Any]] = {
    "manual": [CREATED],
    "context_manager": [CREATED] * 4,
    "mediator": [CREATED, ("integration-events.user_updated", "7", "UserUpdatedIntegrationEvent")],
    "configuration": [],
    "topic_and_key": [("users.created.v1", "acme", "UserCreatedIntegrationEvent")],
    "producer_errors": [],
    "connection_error": [],
}


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_a_snippet_of_the_guide_works(name: str, kafka: Kafka, tmp_path: Path) -> None:
    topics = ["integration-events.user_created", "integration-events.user_updated", "users.created.v1"]
    before = {}
    for topic in topics:
        kafka.create_topic(topic)
        before[topic] = len(kafka.read(topic))
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_SERVICE_NAME": "user-service",
        "PYTHONPATH": str(ALIASES),
    }
    # Those that find no broker have their own time for that.
    patience = [] if name in ("connection_error", "producer_errors") else [str(PATIENT)]
    command = [sys.executable, "-W", "error", "-W", "ignore:building_blocks", *patience, str(GUIDES / f"{name}.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [
        (topic, record.key, record.headers["event_type"])
        for topic in topics
        for record in kafka.read(topic)[before[topic] :]
    ]
    assert found == PROMISES[name], textwrap.shorten(done.stdout + done.stderr, 2000)


def test_the_application_of_the_guide_publishes(kafka: Kafka, monkeypatch: pytest.MonkeyPatch, patient: None) -> None:
    kafka.create_topic("integration-events.user_created")
    before = len(kafka.read("integration-events.user_created"))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.syspath_prepend(str(ALIASES))
    with pytest.warns(DeprecationWarning, match="import from integration_events"):
        import building_blocks  # noqa: F401
    answer = ask(application(GUIDES / "fastapi_application.py"), email="ada@example.com")
    assert answer.status_code == 200
    (record,) = kafka.read("integration-events.user_created")[before:]
    assert record.event["payload"]["email"] == "ada@example.com"


def test_the_other_names_are_the_same_objects_and_their_wheel_belongs_to_this_one() -> None:
    program = """
import integration_events
from building_blocks.application import mediator
from building_blocks.domain import events
from building_blocks.infrastructure import messaging
for module in (mediator, events, messaging):
    for name in module.__all__:
        assert getattr(module, name) is getattr(integration_events, name), name
"""
    environment = {**os.environ, "PYTHONPATH": str(ALIASES)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    project = (ALIASES / "pyproject.toml").read_text()
    assert f'version = "{__version__}"' in project
    assert f'dependencies = ["workflow-events=={__version__}"]' in project


def test_what_the_page_says_of_the_two_snippets_that_fail_is_so() -> None:
    class UserCreatedDomainEvent(DomainEvent):
        email: str

    class UserCreatedIntegrationEvent(IntegrationEvent):
        email: str
        created_at: datetime

    mapper = EventMapper()
    mapper.register_mapping(UserCreatedDomainEvent, UserCreatedIntegrationEvent)
    for fails in (
        lambda: UserCreatedIntegrationEvent(email="ada@example.com"),  # type: ignore[call-arg]
        lambda: mapper.map(UserCreatedDomainEvent(email="ada@example.com")),
    ):
        with pytest.raises(ValidationError, match="created_at\n.*Field required"):
            fails()
    assert len(re.findall(r"^- The .*UserCreated.*`created_at`", PAGE, re.MULTILINE)) == 2


def test_each_snippet_is_run_by_a_test() -> None:
    assert {path.stem for path in GUIDES.glob("*.py")} == {*PROMISES, "fastapi_application"}
