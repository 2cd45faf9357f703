"""A call of the asyncio producer runs once it is made: awaited, cancelled, forgotten, or during the exit."""

import asyncio
import inspect
import json
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


@pytest.fixture(autouse=True)
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop waits for the events of its calls as long as a slow disk or a thread that stands still takes for them."""
    monkeypatch.setattr("workflow_events.aio.SPOOL_GRACE", 300.0)


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
def test_an_event_whose_call_is_never_awaited_is_published(
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


class Late:
    """A native client whose threads stand still before they reach it, until it has been closed."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self._closed = threading.Event()
        self.waiting = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def _late(self, name: str, *arguments: Any) -> Any:
        self.waiting += 1  # By one thread at a time: see the test.
        assert self._closed.wait(120), "the client has not been closed"
        return getattr(self._native, name)(*arguments)

    def publish(self, *arguments: Any) -> Any:
        return self._late("publish", *arguments)

    def begin_batch(self, *arguments: Any) -> Any:
        return self._late("begin_batch", *arguments)

    def enqueue(self, *arguments: Any) -> Any:
        return self._late("enqueue", *arguments)

    def close(self, *arguments: Any) -> Any:
        try:
            return self._native.close(*arguments)
        finally:
            self._closed.set()


def test_a_call_that_a_thread_has_begun_is_not_refused_when_the_producer_is_closed_meanwhile(
    silent: SilentServer, spool: SpoolFolder
) -> None:
    async def scene() -> None:
        producer = producer_of(silent)
        late = producer._producer._native = Late(producer._producer._native)  # type: ignore[assignment]
        for number, call in enumerate(
            [
                lambda: producer.publish_event(an_event("bool"), timeout=60),
                lambda: producer.publish_event_outcome(an_event("outcome"), timeout=60),
                lambda: producer.publish_many([an_event("many")], timeout=60),
                lambda: producer.enqueue_event(an_event("enqueued")),
            ]
        ):
            call()
            poll(120, "a thread has begun it", lambda wanted=number + 1: late.waiting == wanted)
        await producer.stop(timeout=0)
        assert sorted(spool.event_ids()) == ["bool", "enqueued", "many", "outcome"]
        assert (await producer.publish_event_outcome(an_event("after"))).kind == "closed"
        assert not await producer.enqueue_event(an_event("after"))
        assert "after" not in spool.event_ids()

    asyncio.run(scene())


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
            await asyncio.wait_for(call(4), 120),
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
def test_frameworks_and_mocks_recognise_its_calls_as_coroutine_functions(name: str) -> None:
    asked = asyncio.iscoroutinefunction if sys.version_info < (3, 12) else inspect.iscoroutinefunction
    assert asked(getattr(AsyncWorkflowEventProducer, name))
    assert isinstance(getattr(create_autospec(AsyncWorkflowEventProducer), name), AsyncMock)


def test_a_garbage_collected_producer_ends_its_threads(silent: SilentServer, spool: SpoolFolder) -> None:
    import threading

    before = set(threading.enumerate())

    async def scene() -> None:
        producer = producer_of(silent)
        await asyncio.gather(*(producer.publish_event(an_event(str(n)), timeout=0) for n in range(5)))

    asyncio.run(scene())
    poll(120, "its threads have ended", lambda: set(threading.enumerate()) - before, lambda left: not left)
    assert len(spool.files()) == 5


EXITS = {
    "a publish": "await leave(producer.publish_event(event(0), timeout=600))",
    "many publishes": "[await leave(producer.publish_event(event(n), timeout=600), 0.01) for n in range(20)]",
    "publishes and a flush": """
        await producer.enqueue_event(event(0))
        await leave(producer.flush(None))
    """,
    "a flush behind more publishes than threads": """
        calls = [producer.publish_event(event(n), timeout=600) for n in range(20)]
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
    [(calls, 20 if "range(20)" in calls else 1) for calls in EXITS.values()],
    ids=list(EXITS),
)
def test_the_end_of_the_process_waits_for_no_call_that_was_given_up(
    calls: str, events: int, silent: SilentServer, spool: SpoolFolder
) -> None:
    program = """
import asyncio, sys
from workflow_events import AsyncWorkflowEventProducer, WorkflowEventProducer, aio
aio.SPOOL_GRACE = 300.0  # As the fixture.
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
    producer = AsyncWorkflowEventProducer(servers, connect_timeout=600)
CALLS

asyncio.run(main())
print("main has ended", flush=True)
""".replace("CALLS", textwrap.indent(textwrap.dedent(calls).strip(), "    "))
    took: List[float] = []
    # The promise is 5 s and what the disk takes for the files. A machine that stands still delays one end, and not each
    # of three. A call that is waited for ends after two minutes, or ten.
    while len(took) < 3 and (not took or took[-1] >= 60):
        for path in (*spool.files(), *spool.path.glob("*.claim")):
            path.unlink()
        took.append(seconds_to_end(program, silent))
        # A drain that the end of the process cuts off leaves its claim on the file, which the next one takes over.
        left = [*spool.files(), *spool.path.glob("*.claim")]
        ids = [json.loads(path.read_bytes().split(b"\n", 1)[1])["event_id"] for path in left]
        assert sorted(map(int, ids)) == list(range(events))
    print("ended", ", ".join("{:.2f} s".format(seconds) for seconds in took), "after the main program")
    assert took[-1] < 60


def seconds_to_end(program: str, silent: SilentServer) -> float:
    """How long a program takes to end after it has said so."""
    process = subprocess.Popen([sys.executable, "-c", program, silent.bootstrap], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "main has ended\n"
        began = time.monotonic()
        assert process.wait(timeout=300) == 0
        return time.monotonic() - began
    finally:
        process.kill()
        process.communicate()


def test_a_child_leaves_its_parents_calls_to_the_parent(silent: SilentServer, spool: SpoolFolder) -> None:
    producer = producer_of(silent)
    call = producer.publish_event(an_event("parents"), timeout=600.0)
    child = os.fork()
    if child == 0:
        began = time.monotonic()
        try:
            asyncio.run(producer.stop(timeout=600))
        finally:
            os._exit(len(spool.files()) + (time.monotonic() - began > 100))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # Its thread may stand still before it comes to the client, which refuses the event once it is closed.
    poll(120, "the event is on its way", lambda: int(producer._producer._native.flush(0)[0]) == 1)
    asyncio.run(producer.stop(timeout=0.2))
    assert asyncio.run(call) is False  # type: ignore[arg-type]
    assert spool.event_ids() == ["parents"]


def test_the_plain_producer_is_still_closed_when_it_is_garbage_collected(
    silent: SilentServer, spool: SpoolFolder
) -> None:
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
