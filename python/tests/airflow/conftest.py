"""Two real Airflows, each migrated once for all tests."""

from typing import Iterator

import pytest
from kit.reader import Kafka
from langgraph_server import LangGraph
from real_airflow import Airflow


def _airflow(version: int) -> Iterator[Airflow]:
    airflow = Airflow(version)
    yield airflow
    airflow.close()


@pytest.fixture(scope="session")
def airflow2() -> Iterator[Airflow]:
    """Airflow 2.8.4."""
    yield from _airflow(2)


@pytest.fixture(scope="session")
def airflow3() -> Iterator[Airflow]:
    """Airflow 3.3.2."""
    yield from _airflow(3)


@pytest.fixture(scope="session", params=[2, 3], ids=["airflow-2.8.4", "airflow-3.3.2"])
def airflow(request: pytest.FixtureRequest) -> Airflow:
    """Each of them in turn."""
    found = request.getfixturevalue(f"airflow{request.param}")
    assert isinstance(found, Airflow)
    return found


@pytest.fixture(params=[2, 3], ids=["airflow-2.8.4", "airflow-3.3.2"])
def airflow_alone(request: pytest.FixtureRequest) -> Iterator[Airflow]:
    """Each of them in turn, without DAGs, for one test."""
    airflow = Airflow(request.param, samples=False)
    yield airflow
    airflow.close()


@pytest.fixture(scope="session")
def langgraph() -> Iterator[LangGraph]:
    """One LangGraph server for all."""
    server = LangGraph()
    yield server
    server.close()


@pytest.fixture(scope="session")
def airflow_topic(kafka: Kafka) -> str:
    """A topic for what a whole session of one Airflow publishes."""
    return kafka.topic("airflow")
