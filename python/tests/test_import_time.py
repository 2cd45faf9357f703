"""The cost of an import: which modules it loads, and the milliseconds, which are printed."""

import json
import subprocess
import sys
from typing import List, Set, Tuple

import pytest

# What takes long to import, and what a producer of dicts has no need of.
HEAVY = {
    "pydantic",
    "pydantic_core",
    "asyncio",
    "concurrent.futures",
    "logging.config",
    "kafka",
    "confluent_kafka",
    "airflow",
}
MORE = HEAVY | {"dataclasses", "inspect", "socket", "ssl", "typing", "urllib.request", "uuid", "importlib.metadata"}

PROGRAM = """
import json, sys, time
before, began = set(sys.modules), time.perf_counter()
{statement}
print(json.dumps([(time.perf_counter() - began) * 1000, sorted(set(sys.modules) - before)]))
"""


def imported(statement: str) -> Tuple[float, Set[str]]:
    program = PROGRAM.format(statement=statement)
    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=120, check=True)
    milliseconds, modules = json.loads(ran.stdout)
    return milliseconds, set(modules)


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import workflow_events", MORE | {"logging", "json", "workflow_events._native"}),
        ("from workflow_events import WorkflowEventProducer", MORE | {"logging", "traceback"}),
        ("from workflow_events import EventSource, EventType, KafkaError", MORE | {"logging", "json"}),
        # It has its log and its ids from the start: an import at the first publish could hang in a forked child.
        ("import airflow_integration", (MORE - {"uuid"}) | {"workflow_events.models"}),
        (
            "from workflow_events import WorkflowEventProducer\n"
            "producer = WorkflowEventProducer(connect_timeout=None, spool_dir=False)\n"
            "producer.publish_event({'event_id': 'a'}, timeout=0)\n"
            "producer.close()",
            HEAVY,
        ),
    ],
)
def test_nothing_heavy_is_imported_until_a_model_is_used(statement: str, forbidden: Set[str]) -> None:
    times: List[float] = []
    for _ in range(5):
        milliseconds, modules = imported(statement)
        times.append(milliseconds)
        assert not forbidden & modules
    print(f"{min(times):.1f} ms: {statement.splitlines()[0]}")


def test_a_model_imports_pydantic_and_the_asyncio_face_imports_asyncio() -> None:
    for name, module in (("WorkflowEvent", "pydantic"), ("AsyncWorkflowEventProducer", "asyncio")):
        milliseconds, modules = imported(f"from workflow_events import {name}")
        assert module in modules, "or the tests above find nothing because there is nothing to find"
        print(f"{milliseconds:.1f} ms: {name}")


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error() -> None:
    import workflow_events

    for name in workflow_events.__all__:
        assert getattr(workflow_events, name) is not None
        assert name in dir(workflow_events)
    with pytest.raises(AttributeError, match="module 'workflow_events' has no attribute 'Nothing'"):
        workflow_events.Nothing  # noqa: B018
