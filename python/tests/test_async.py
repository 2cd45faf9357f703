"""The asyncio producer: no call blocks the event loop, whatever the broker does."""

import asyncio
import time
import uuid
from typing import Any, Awaitable, Callable, Dict, List, Tuple

import httpx
import pytest
from fastapi import FastAPI
from kit.bridge import Bridge
from kit.broker import Broker
from kit.poll import poll
from kit.reader import Kafka
from kit.silent import SilentServer
from kit.spool import SpoolFolder
from workflow_events import (
    AsyncWorkflowEventProducer,
    EventSource,
    EventType,
    KafkaError,
    KafkaTimeoutError,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
)
from workflow_events.aio import THREADS

TICK = 0.005
# How long each publish here waits for a broker that does not answer.
WAIT = 2.0
# What it may take beyond that on a machine that does much else: far less than the two minutes for which a client tries
# to deliver.
LATE = 40.0
# A loop that is held up is so each time. One whose thread stood still in a short call looks the same, once.
TRIES = 3


@pytest.fixture(autouse=True)
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop waits for the events of its calls as long as a slow disk or a thread that stands still takes for them."""
    monkeypatch.setattr("workflow_events.aio.SPOOL_GRACE", 300.0)


def an_event(run_id: str = "run") -> WorkflowEvent:
    return WorkflowEvent(
        event_type=EventType.WORKFLOW_TRIGGERED,
        source=EventSource.FASTAPI,
        workflow_id="async",
        workflow_run_id=run_id,
        payload=WorkflowEventPayload(data={"triggered_by": "api"}),
        metadata=WorkflowEventMetadata(environment="prod"),
    )


async def watched(work: Callable[[], Awaitable[Any]]) -> Tuple[Any, float, float]:
    """The result of the work, its duration, and the longest time for which the loop was blocked.

    A loop that is held up does not go on until the work is done, and one that is not goes on a hundred times in a
    second: it has to have done so twice for each second that the work took, however busy the machine is. The work is
    done again if it has not.
    """
    for _ in range(TRIES):
        answer, seconds, gaps = await ticked(work)
        if len(gaps) > 2 * seconds:
            return answer, seconds, max(gaps)
    raise AssertionError("the loop went on {} times in {:.1f} s".format(len(gaps) - 1, seconds))


async def ticked(work: Callable[[], Awaitable[Any]]) -> Tuple[Any, float, List[float]]:
    """The result of the work, its duration, and for how long the loop was blocked before each of its ticks."""
    gaps = [0.0]
    done = False

    async def tick() -> None:
        last = time.monotonic()
        while not done:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            gaps.append(now - last - TICK)
            last = now

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0)
    began = time.monotonic()
    answer = await work()
    seconds = time.monotonic() - began
    done = True
    await ticking
    return answer, seconds, gaps


def application(producer: AsyncWorkflowEventProducer, timeout: float = WAIT) -> FastAPI:
    app = FastAPI()

    @app.post("/workflow/trigger")
    async def trigger(workflow_id: str) -> Dict[str, Any]:
        event = an_event("run_{}".format(uuid.uuid4()))
        return {"published": await producer.publish_event(event, timeout=timeout), "event_id": event.event_id}

    return app


def ask(app: FastAPI, times: int) -> Any:
    """That many requests at once: their answers, the time of all, the loop's longest gap."""

    async def all_at_once() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=600) as client:

            async def work() -> List[httpx.Response]:
                requests = [client.post("/workflow/trigger", params={"workflow_id": "w"}) for _ in range(times)]
                return list(await asyncio.gather(*requests))

            return await watched(work)

    return asyncio.run(all_at_once())


def test_an_application_publishes_what_the_bridge_accepts(kafka: Kafka, bridge: Bridge) -> None:
    producer = AsyncWorkflowEventProducer(kafka.bootstrap)
    answers, seconds, gap = ask(application(producer, timeout=60.0), 50)
    asyncio.run(producer.stop())
    print("50 requests in {:.3f} s, the loop's longest gap {:.3f} s".format(seconds, gap))
    ids = [answer.json()["event_id"] for answer in answers]
    assert [answer.json()["published"] for answer in answers] == [True] * 50
    assert set(ids) <= set(kafka.event_ids("workflow-events"))
    for event_id in ids:
        assert bridge.accepted(event_id)["source"] == "FASTAPI"


def test_a_silent_broker_blocks_the_caller_and_not_the_loop(silent: SilentServer, spool: SpoolFolder) -> None:
    producer = AsyncWorkflowEventProducer(silent.bootstrap, connect_timeout=None)
    answers, seconds, gap = ask(application(producer), 8)
    asyncio.run(producer.stop(timeout=0.5))
    print("8 requests to a silent broker in {:.3f} s, the loop's longest gap {:.3f} s".format(seconds, gap))
    assert [answer.json()["published"] for answer in answers] == [False] * 8
    spooled = spool.event_ids()
    assert [spooled.count(answer.json()["event_id"]) for answer in answers] == [1] * 8
    assert WAIT - 0.1 < seconds < WAIT + LATE


def test_far_more_requests_than_threads_each_end_at_their_deadline(silent: SilentServer, spool: SpoolFolder) -> None:
    producer = AsyncWorkflowEventProducer(silent.bootstrap, connect_timeout=None)
    answers, seconds, gap = ask(application(producer, timeout=20.0), 200)
    asyncio.run(producer.stop(timeout=0.5))
    print("200 requests to a silent broker in {:.3f} s, the loop's longest gap {:.3f} s".format(seconds, gap))
    assert [answer.json()["published"] for answer in answers] == [False] * 200
    assert {answer.json()["event_id"] for answer in answers} <= set(spool.event_ids())
    assert len({answer.json()["event_id"] for answer in answers}) == 200
    # One after the other on the 16 threads they would take 250 s; a slow disk takes its time for 200 files.
    assert seconds < 200


def test_no_method_blocks_the_loop(broker: Broker, spool: SpoolFolder) -> None:
    topic = broker.kafka.topic()
    made: List[str] = []

    def one() -> WorkflowEvent:
        event = an_event()
        made.append(str(event.event_id))
        return event

    async def all_methods() -> None:
        async with AsyncWorkflowEventProducer(broker.bootstrap, topic=topic, connect_timeout=60) as producer:
            assert await producer.publish_event(one(), timeout=60) is True
            broker.freeze()
            for name, work in {
                "publish_event": lambda: producer.publish_event(one(), timeout=WAIT),
                "publish_event_outcome": lambda: producer.publish_event_outcome(one(), timeout=WAIT),
                "publish_many": lambda: producer.publish_many([one() for _ in range(20)], timeout=WAIT),
                "enqueue_event": lambda: producer.enqueue_event(one()),
            }.items():
                _, seconds, gap = await watched(work)
                print("{}: {:.3f} s, the loop's longest gap {:.3f} s".format(name, seconds, gap))
                assert seconds < WAIT + LATE

            async def flush() -> None:
                with pytest.raises(KafkaTimeoutError):
                    await producer.flush(timeout=WAIT)

            _, seconds, gap = await watched(flush)
            print("flush: {:.3f} s, the loop's longest gap {:.3f} s".format(seconds, gap))
            broker.thaw()
            await producer.flush(timeout=120)

    asyncio.run(all_methods())
    found = poll(
        120, "what was late is in Kafka", lambda: broker.kafka.event_ids(topic), lambda ids: set(ids) >= set(made)
    )
    assert sorted(found) == sorted(made), "each once"
    poll(120, "the spool is empty", spool.everything, lambda files: files == [])


def test_finding_no_broker_is_an_error_and_no_stop(silent: SilentServer) -> None:
    """A constructor cannot await: entering the context looks for the broker, and the loop goes on."""

    async def enter() -> None:
        with pytest.raises(KafkaError):
            async with AsyncWorkflowEventProducer(silent.bootstrap, connect_timeout=WAIT):
                pass

    _, seconds, gap = asyncio.run(watched(enter))
    print("no broker found in {:.3f} s, the loop's longest gap {:.3f} s".format(seconds, gap))
    assert seconds < WAIT + LATE


def on_their_way(producer: AsyncWorkflowEventProducer, count: int) -> None:
    """Waits until the client has so many events: the thread of a call may stand still before that."""

    def pending() -> int:
        return int(producer._producer._native.flush(0)[0])

    poll(120, "{} events are on their way".format(count), pending, lambda found: found == count)


def test_a_cancelled_request_loses_nothing(silent: SilentServer, spool: SpoolFolder) -> None:
    event = an_event()

    async def give_up() -> None:
        producer = AsyncWorkflowEventProducer(silent.bootstrap, connect_timeout=None)
        with pytest.raises(asyncio.TimeoutError):
            # Far longer than it is given: a result that is there would be returned, however late it is looked at.
            await asyncio.wait_for(producer.publish_event(event, timeout=600.0), 0.2)
        on_their_way(producer, 1)
        await producer.stop(timeout=1.0)

    asyncio.run(give_up())
    assert spool.event_ids() == [event.event_id]


def test_a_stop_ends_by_its_deadline_and_pending_events_are_safe(silent: SilentServer, spool: SpoolFolder) -> None:
    """More calls than threads, each with ten minutes for a broker that never answers."""
    count = THREADS + 8

    async def scene(first: int) -> float:
        producer = AsyncWorkflowEventProducer(silent.bootstrap, connect_timeout=None)
        events = [an_event(str(first + n)) for n in range(count)]
        calls = [asyncio.ensure_future(producer.publish_event(event, timeout=600.0)) for event in events]
        on_their_way(producer, THREADS)
        began = time.monotonic()
        await producer.stop(timeout=1.0)
        answers = await asyncio.gather(*calls)
        assert answers == [False] * count
        return time.monotonic() - began

    took: List[float] = []
    # A machine that stands still delays one stop, and not each of three. The disk delays each: what no thread has begun
    # is written file by file. Without the stop a call would end after two minutes.
    while len(took) < 3 and (not took or took[-1] >= 60):
        took.append(asyncio.run(scene(count * len(took))))
    print("stopped in", ", ".join("{:.3f} s".format(seconds) for seconds in took))
    assert took[-1] < 60
    assert sorted(int(event["workflow_run_id"]) for event in spool.events()) == list(range(count * len(took)))


def test_a_stop_bears_that_calls_end_while_it_looks_at_them(
    silent: SilentServer, spool: SpoolFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = asyncio.wrap_future

    async def scene() -> List[bool]:
        producer = AsyncWorkflowEventProducer(silent.bootstrap, connect_timeout=None)
        calls = [asyncio.ensure_future(producer.publish_event(an_event(str(n)), timeout=1.0)) for n in range(4)]
        await asyncio.sleep(0)

        def ended(future: Any) -> Any:
            poll(120, "the call has ended", lambda: future not in producer._pending)
            return wrap(future)

        monkeypatch.setattr(asyncio, "wrap_future", ended)
        await producer.stop(timeout=300.0)
        return await asyncio.gather(*calls)

    assert asyncio.run(scene()) == [False] * 4
    assert len(spool.files()) == 4
