"""docs/integration-events.md says what the code does, its programs run, and so do the snippets of the guide."""

import asyncio
import importlib.util
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import httpx
import integration_events
import pytest
from integration_events import DomainEvent, EventMapper, IntegrationEvent, KafkaConfig, errors
from integration_events.config import FIELDS, variable_of
from kit.consuming import envelope, eventually, group_name, write
from kit.poll import poll
from kit.programs import PATIENT, Running, finish
from kit.reader import Kafka
from kit.spool import SpoolFolder
from pydantic import ValidationError
from workflow_events import __version__

PAGE = (Path(__file__).parents[3] / "docs" / "integration-events.md").read_text()
GUIDES = Path(__file__).parent / "guide"
ALIASES = Path(__file__).parents[2] / "aliases"
EXAMPLES = Path(__file__).parents[3] / "examples" / "integration-events"


def blocks(language: str) -> List[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


PROGRAMS = [program for program in blocks("python") if "FastAPI" not in program and "Consumer" not in program]


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


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", timeout=300)


def ask(app: Any, capsys: pytest.CaptureFixture[str], email: str) -> httpx.Response:
    """Asks for a user, and waits until the application has handled the event about it."""
    printed = ""

    def handled() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return f": {email}\n" in printed

    async def scene() -> httpx.Response:
        async with app.router.lifespan_context(app), client_of(app) as client:
            answer = await client.post("/users", params={"email": email})
            await eventually("the event is handled", handled)
            return answer

    return asyncio.run(scene())


def test_the_application_of_the_page_publishes_and_consumes(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, patient: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = [program for program in blocks("python") if "FastAPI" in program]
    kafka.create_topic("integration-events.user_created")
    before = len(kafka.read("integration-events.user_created"))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    path = tmp_path / "page_application.py"
    path.write_text(program)
    answer = ask(application(path), capsys, "ada@example.com")
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


def test_the_application_of_the_guide_publishes_and_consumes(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, patient: None, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.create_topic("integration-events.user_created")
    before = len(kafka.read("integration-events.user_created"))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("KAFKA_CONSUMER_GROUP_ID", group_name())
    monkeypatch.syspath_prepend(str(ALIASES))
    with pytest.warns(DeprecationWarning, match="import from integration_events"):
        import building_blocks  # noqa: F401
    answer = ask(application(GUIDES / "fastapi_application.py"), capsys, "ada@example.com")
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


def runs_until_told(program: Path, kafka: Kafka, shown: str, until: Callable[[Running], Any]) -> str:
    """What a program prints that consumes, until something holds, and then gets a SIGTERM."""
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_CONSUMER_GROUP_ID": group_name(),
        "KAFKA_RETRY_BACKOFF_MS": "10",
        "PYTHONPATH": str(ALIASES),
        "PYTHONUNBUFFERED": "1",
    }
    flags = ["-W", "error", "-W", "ignore:building_blocks"]
    process = Running([sys.executable, *flags, str(PATIENT), str(program)], environment)
    poll(300, shown, lambda: (process.poll(), until(process)), lambda seen: seen[0] is not None or seen[1])
    process.send_signal(signal.SIGTERM)
    ended = finish(process, 300)
    assert ended.status == 0, ended.printed
    return ended.printed


def test_the_consumer_of_the_guide_handles_events_with_each_of_its_handlers(kafka: Kafka) -> None:
    topic, email = "integration-events.user_created", f"{uuid.uuid4()}@example.com"
    kafka.create_topic(topic)
    write(kafka, topic, envelope("UserCreatedIntegrationEvent", email=email))
    lines = {f"User created: {email}\n", f"By the function: {email}\n"}
    runs_until_told(GUIDES / "consuming.py", kafka, "both have it", lambda process: lines <= set(process.printed()))


def test_the_handler_of_the_guide_that_raises_leaves_a_dead_letter(kafka: Kafka) -> None:
    topic = "integration-events.refused"
    for name in (topic, f"{topic}.dlq"):
        kafka.create_topic(name)
    program = GUIDES / "consumer_errors.py"
    printed = runs_until_told(program, kafka, "it is there", lambda _: kafka.read(f"{topic}.dlq"))
    (letter,) = kafka.read(f"{topic}.dlq")
    assert (letter.headers["dlq-reason"], letter.headers["dlq-agent"]) == ("max_attempts", "MyHandler")
    assert printed.count("Handler error: no mail server") == int(letter.headers["dlq-attempts"]) == 4


def test_the_consumer_of_the_page_handles_events_until_it_is_told_to_stop(kafka: Kafka, tmp_path: Path) -> None:
    (text,) = [one for one in blocks("python") if "Consumer" in one and "FastAPI" not in one]
    program = tmp_path / "program.py"
    program.write_text(text)
    topic, email = "integration-events.user_created", f"{uuid.uuid4()}@example.com"
    kafka.create_topic(topic)
    write(kafka, topic, envelope("UserCreatedIntegrationEvent", email=email))
    runs_until_told(program, kafka, "it is handled", lambda process: any(email in line for line in process.printed()))


def test_the_two_services_of_the_example_tell_each_other(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, patient: None
) -> None:
    created, welcomed = "integration-events.user_created", "integration-events.welcome_sent"
    for topic in (created, f"{created}.dlq", welcomed):
        kafka.create_topic(topic)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("KAFKA_CONSUMER_GROUP_ID", group_name())
    # Other tests have written to the topic.
    monkeypatch.setenv("KAFKA_CONSUMER_AUTO_OFFSET_RESET", "latest")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    users, emails = (application(EXAMPLES / f"{name}_service.py") for name in ("user", "email"))
    before = len(kafka.read(welcomed)), len(kafka.read(f"{created}.dlq"))

    async def scene() -> Tuple[Dict[str, Any], List[str]]:
        async with emails.router.lifespan_context(emails), users.router.lifespan_context(users):
            async with client_of(users) as user_service, client_of(emails) as email_service:
                answer = await user_service.post("/users", json={"email": "ada@example.com", "full_name": "Ada"})
                wrong = await user_service.post("/users", json={"email": "nowhere", "full_name": "Nobody"})
                assert (answer.status_code, wrong.status_code) == (200, 200)
                for topic, count in ((welcomed, before[0]), (f"{created}.dlq", before[1])):
                    await eventually("one more", lambda topic=topic: kafka.read(topic), lambda s, c=count: len(s) > c)
                health = await email_service.get("/health")
                assert (health.status_code, health.json()) == (200, {"consuming": True})
                return answer.json(), (await email_service.get("/emails")).json()

    answer, mails = asyncio.run(scene())
    assert mails == ["To: ada@example.com\n\nWelcome, Ada!"]
    (welcome,) = kafka.read(welcomed)[before[0] :]
    assert welcome.key == answer["user_id"]
    assert welcome.event["causation_id"] == welcome.event["correlation_id"] == answer["event_id"]
    (letter,) = kafka.read(f"{created}.dlq")[before[1] :]
    assert (letter.headers["dlq-reason"], letter.headers["dlq-agent"]) == ("refused", "send-welcome")


def test_each_snippet_is_run_by_a_test() -> None:
    others = {"fastapi_application", "consuming", "consumer_errors"}
    assert {path.stem for path in GUIDES.glob("*.py")} == {*PROMISES, *others}
