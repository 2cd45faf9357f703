"""A call of the asyncio producer is under way when it was made: awaited, cancelled, forgotten, or at the very end."""

import asyncio
import inspect
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from typing import Any, Awaitable, Callable, List
from unittest.mock import AsyncMock, create_autospec

import pytest
from kit.events import an_event
from kit.poll import poll
from kit.silent import SilentServer
from kit.spool import SpoolFolder
from workflow_events import AsyncWorkflowEventProducer, WorkflowEventProducer


def producer_of(silent: SilentServer) -> AsyncWorkflowEventProducer:
    return AsyncWorkflowEventProducer(silent.bootstrap, connect_timeout=None)


async def cancelled_before_its_first_step(call: Awaitable[Any]) -> None:
    task = asyncio.ensure_future(call)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def given_no_time(call: Awaitable[Any]) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(call, 0)


async def forgotten(call: Awaitable[Any]) -> None:
    del call


@pytest.mark.parametrize("leave", [cancelled_before_its_first_step, given_no_time, forgotten])
def test_an_event_whose_call_nobody_awaits_is_published_all_the_same(
    leave: Callable[[Awaitable[Any]], Awaitable[None]], silent: SilentServer, spool: SpoolFolder
) -> None:
    async def scene() -> None:
        producer = producer_of(silent)
        await leave(producer.publish_event(an_event("bool"), timeout=0.2))
        await leave(producer.publish_event_outcome(an_event("outcome"), timeout=0.2))
        await leave(producer.publish_many([an_event("many")], timeout=0.2))
        await leave(producer.enqueue_event(an_event("enqueued")))
        await producer.stop(timeout=1.0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(scene())
    assert sorted(spool.event_ids()) == ["bool", "enqueued", "many", "outcome"]


def test_an_event_is_published_as_it_was_when_the_call_was_made(silent: SilentServer, spool: SpoolFolder) -> None:
    async def scene() -> None:
        producer = producer_of(silent)
        event, other = (an_event(id, payload={"data": {"value": 1}}) for id in ("one", "two"))
        calls = [
            asyncio.create_task(producer.publish_event(event, timeout=0)),
            asyncio.create_task(producer.publish_many([other], timeout=0)),
        ]
        for each in (event, other):
            each["payload"]["data"]["value"] = 2
        await asyncio.gather(*calls)
        await producer.stop()

    asyncio.run(scene())
    assert [event["payload"]["data"]["value"] for event in spool.events()] == [1, 1]


def test_a_call_is_awaited_in_every_way_in_which_a_coroutine_is(silent: SilentServer, spool: SpoolFolder) -> None:
    producer = producer_of(silent)

    def call(number: int) -> Any:
        return producer.publish_event(an_event(str(number)), timeout=0)

    async def scene() -> List[bool]:
        done, _ = await asyncio.wait({asyncio.ensure_future(call(0))})
        return [
            await call(1),
            *await asyncio.gather(call(2), asyncio.create_task(call(3))),
            await asyncio.wait_for(call(4), 30),
            await asyncio.shield(call(5)),
            done.pop().result(),
        ]

    assert asyncio.run(scene()) == [False] * 6
    assert asyncio.run(call(6)) is False, "a call made where no loop runs"
    twice = call(7)
    assert asyncio.run(twice) is False
    with pytest.raises(RuntimeError, match="await"):
        asyncio.run(twice)
    asyncio.run(producer.stop())
    assert len(spool.files()) == 8


@pytest.mark.parametrize("name", ["publish_event", "publish_event_outcome", "publish_many", "enqueue_event", "flush"])
def test_frameworks_and_mocks_know_its_calls_for_what_is_awaited(name: str) -> None:
    asked = asyncio.iscoroutinefunction if sys.version_info < (3, 12) else inspect.iscoroutinefunction
    assert asked(getattr(AsyncWorkflowEventProducer, name))
    assert isinstance(getattr(create_autospec(AsyncWorkflowEventProducer), name), AsyncMock)


def test_a_producer_that_nobody_holds_ends_its_threads(silent: SilentServer, spool: SpoolFolder) -> None:
    import threading

    before = set(threading.enumerate())

    async def scene() -> None:
        producer = producer_of(silent)
        await asyncio.gather(*(producer.publish_event(an_event(str(n)), timeout=0) for n in range(5)))

    asyncio.run(scene())
    poll(30, "its threads have ended", lambda: set(threading.enumerate()) - before, lambda left: not left)
    assert len(spool.files()) == 5


EXITS = {
    "a publish": "await leave(producer.publish_event(event(0), timeout=60))",
    "many publishes": "[await leave(producer.publish_event(event(n), timeout=60), 0.01) for n in range(40)]",
    "publishes and a flush": """
        await producer.enqueue_event(event(0))
        await leave(producer.flush(None))
    """,
    "a flush behind more publishes than threads": """
        calls = [producer.publish_event(event(n), timeout=60) for n in range(20)]
        await leave(producer.flush(None))
    """,
    "a drain": """
        WorkflowEventProducer(servers, connect_timeout=None).publish_event(event(0), timeout=0)
        await leave(producer.drain_spool())
    """,
    "the search for a broker": """
        await producer.publish_event(event(0), timeout=0)
        await leave(producer.start())
    """,
}


@pytest.mark.parametrize(
    ("calls", "events"),
    [(calls, 40 if "40" in calls else 20 if "20" in calls else 1) for calls in EXITS.values()],
    ids=list(EXITS),
)
def test_the_end_of_the_process_waits_for_no_call_that_was_given_up(
    calls: str, events: int, silent: SilentServer, spool: SpoolFolder
) -> None:
    program = """
import asyncio, sys
from workflow_events import AsyncWorkflowEventProducer, WorkflowEventProducer
servers = sys.argv[1]

def event(number):
    return dict(event_id=str(number), event_type="WORKFLOW_COMPLETED", source="AIRFLOW", workflow_id="d",
                workflow_run_id="r", payload={"data": {}}, metadata={})

async def leave(call, after=0.3):
    try:
        await asyncio.wait_for(call, after)
    except asyncio.TimeoutError:
        pass

async def main():
    global producer
    producer = AsyncWorkflowEventProducer(servers, connect_timeout=60)
CALLS

asyncio.run(main())
print("main has ended", flush=True)
""".replace("CALLS", textwrap.indent(textwrap.dedent(calls).strip(), "    "))
    process = subprocess.Popen([sys.executable, "-c", program, silent.bootstrap], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "main has ended\n"
        began = time.monotonic()
        assert process.wait(timeout=50) == 0
        seconds = time.monotonic() - began
    finally:
        process.kill()
        process.communicate()
    print("ended {:.2f} s after the main program".format(seconds))
    # The promise is 5 s; the rest is for a slow machine, and far less than a call's minute.
    assert seconds < 20
    assert sorted(map(int, spool.event_ids())) == list(range(events))


def test_a_child_leaves_its_parents_calls_to_the_parent(silent: SilentServer, spool: SpoolFolder) -> None:
    producer = producer_of(silent)
    call = producer.publish_event(an_event("parents"), timeout=2.0)
    child = os.fork()
    if child == 0:
        began = time.monotonic()
        try:
            asyncio.run(producer.stop(timeout=60))
        finally:
            os._exit(len(spool.files()) + (time.monotonic() - began > 30))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asyncio.run(call) is False  # type: ignore[arg-type]
    asyncio.run(producer.stop())
    assert spool.event_ids() == ["parents"]


def test_the_plain_producer_is_still_closed_by_whoever_lets_go_of_it(silent: SilentServer, spool: SpoolFolder) -> None:
    producer = WorkflowEventProducer(silent.bootstrap, connect_timeout=None)
    producer.enqueue_event(an_event("enqueued"))
    producer._end(time.monotonic())
    assert producer.closed
    assert spool.event_ids() == ["enqueued"]


def test_a_producer_is_stopped_also_where_no_thread_can_be_started(
    silent: SilentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    producer = producer_of(silent)
    loop = asyncio.new_event_loop()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        loop.run_until_complete(producer.stop())
    loop.close()
    assert producer.closed
