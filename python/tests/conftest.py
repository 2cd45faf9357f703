"""The fixtures of every test: a broker, a topic, a spool folder of its own, an environment without settings."""

import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from kit.bridge import Bridge
from kit.broker import Broker
from kit.reader import Kafka
from kit.silent import SilentServer
from kit.spool import SpoolFolder
from programs import patient as patience
from workflow_events import WorkflowEventProducer

PREFIXES = ("KAFKA_", "WORKFLOW_EVENTS_", "AIRFLOW_")
NAMES = ("ENVIRONMENT", "EVENT_SCHEMA_VERSION", "XDG_STATE_HOME")

# What the environment said before any test cleaned it.
NAMED_CLUSTER = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")


def cleaned(environment: Dict[str, str]) -> Dict[str, str]:
    """The environment without anything that this package, Kafka's or Airflow's reads."""
    return {name: value for name, value in environment.items() if not name.startswith(PREFIXES) and name not in NAMES}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", metavar="N/M", help="run the Nth of M parts of the files, to run the parts at once")


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Leaves the files of this part: every Mth of all that were collected, in the order of their names."""
    part = config.getoption("--part")
    if not part:
        return
    number, parts = (int(text) for text in part.split("/"))
    files = sorted({str(item.path) for item in items})
    mine = set(files[number - 1 :: parts])
    others = [item for item in items if str(item.path) not in mine]
    items[:] = [item for item in items if str(item.path) in mine]
    config.hook.pytest_deselected(items=others)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable that the package reads, but for a spool folder of the test's own."""
    for name in set(os.environ) - set(cleaned(dict(os.environ))):
        monkeypatch.delenv(name)
    monkeypatch.setenv("WORKFLOW_EVENTS_SPOOL_DIR", str(tmp_path / "spool"))


@pytest.fixture
def spool(tmp_path: Path) -> SpoolFolder:
    """The spool folder that the environment names."""
    return SpoolFolder(tmp_path / "spool")


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The cluster of tests that leave the broker alone: the one that KAFKA_BOOTSTRAP_SERVERS named, else one of our
    own, started once. Topics and groups need unique names."""
    if NAMED_CLUSTER:
        yield Kafka(NAMED_CLUSTER)
        return
    with Broker() as broker:
        yield broker.kafka


@pytest.fixture(scope="session")
def bridge(kafka: Kafka) -> Iterator[Bridge]:
    """A bridge that reads ``workflow-events``, the default topic, and delivers each event to its agent."""
    kafka.create_topic("workflow-events")
    with Bridge(kafka, "workflow-events") as running:
        yield running


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A topic of one partition that only this test uses."""
    return kafka.topic()


@pytest.fixture(scope="session")
def secured() -> Iterator[Broker]:
    """A broker with TLS and SASL listeners. Leave it running."""
    with Broker(secured=True) as broker:
        yield broker


@pytest.fixture
def start_broker() -> Iterator[Callable[..., Broker]]:
    """Starts brokers for a test that stops, kills or freezes them. Ready again some 4 s after a SIGKILL."""
    started = []

    def start(**settings: str) -> Broker:
        named = {name.replace("_", "."): value for name, value in settings.items()}
        quick = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
        started.append(Broker({**quick, **named}))
        return started[-1]

    yield start
    for broker in started:
        broker.close()


@pytest.fixture
def broker(start_broker: Callable[..., Broker]) -> Broker:
    """A broker of the test's own."""
    return start_broker()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As programs/patient.py, in this process: for calls with time-outs of their own to a broker that is there."""
    patience.install(monkeypatch.setattr)


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    """A server that accepts and never answers."""
    with SilentServer() as server:
        yield server


@pytest.fixture
def producers() -> Iterator[Callable[..., WorkflowEventProducer]]:
    """Makes lazy clients and closes them."""
    made: List[WorkflowEventProducer] = []

    def make(servers: str, **settings: Any) -> WorkflowEventProducer:
        made.append(WorkflowEventProducer(servers, connect_timeout=None, **settings))
        return made[-1]

    yield make
    for producer in made:
        producer.close(timeout=2.0)
