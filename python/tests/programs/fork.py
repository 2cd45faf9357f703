"""What test_fork.py runs: ``fork.py SCENE JOURNAL [NUMBER]``. Each scene publishes and records the results.

The broker, the topic and the credentials come from the environment.
"""

import faulthandler
import gc
import logging
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

from kit import events
from kit.poll import poll
from kit.programs import Journal, forked, reap, under_alarm
from workflow_events import WorkflowEventProducer
from workflow_events import producer as producer_module

# Of a publish to a broker that is there.
DEADLINE = 60.0

journal = Journal(Path(sys.argv[2]))
number = int(sys.argv[3]) if len(sys.argv) > 3 else 0


def an_event(note: str) -> Dict[str, Any]:
    return events.an_event(workflow_id="fork", workflow_run_id=note, payload={"data": {"pid": os.getpid()}})


def connected(**settings: Any) -> WorkflowEventProducer:
    """A client that has found its broker, however long a busy machine takes for that."""
    return WorkflowEventProducer(connect_timeout=60, **settings)


def publish(producer: WorkflowEventProducer, note: str, timeout: float = DEADLINE) -> str:
    """Publishes one event and writes down what became of it."""
    event = an_event(note)
    began = time.monotonic()
    outcome = producer.publish_event_outcome(event, timeout=timeout)
    seconds = time.monotonic() - began
    journal.write(outcome.status, event["event_id"])
    if outcome.status != "published":
        print("{} in {:.2f} s: {} {}".format(note, seconds, outcome.status, outcome.message), flush=True)
    return str(outcome.status)


def must(producer: WorkflowEventProducer, note: str) -> None:
    status = publish(producer, note)
    assert status == "published", "{}: {}".format(note, status)


def inherited() -> None:
    """A child uses its parent's client, and the parent goes on with it."""
    producer = connected()
    must(producer, "parent before")
    for turn in range(5):
        reap([forked(lambda: must(producer, "child"))])
        must(producer, "parent after {}".format(turn))
    producer.close()


def lazily_inherited() -> None:
    """As above, when the parent made the client but never used it."""
    producer = WorkflowEventProducer(connect_timeout=None)
    reap([forked(lambda: must(producer, "child"))])
    must(producer, "parent after")
    producer.close()


def nested() -> None:
    """Five generations of one client; each publishes before it forks and after its child has ended."""
    producer = connected()

    def generation(depth: int) -> None:
        must(producer, "generation {} before".format(depth))
        if depth < 5:
            reap([forked(lambda: generation(depth + 1))])
        must(producer, "generation {} after".format(depth))

    generation(1)
    producer.close()


def two_hundred() -> None:
    """200 forks, ten at a time, while four threads publish without a pause."""
    producer = connected()
    stop = threading.Event()
    published = [0] * 4
    failed: List[str] = []

    def go_on(thread: int) -> None:
        while not stop.is_set():
            status = publish(producer, "thread")
            if status == "published":
                published[thread] += 1
            else:
                failed.append(status)

    threads = [threading.Thread(target=go_on, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    try:
        # One of them may stand still before its first event for longer than all the forks take.
        poll(120, "each thread publishes", lambda: min(published))
        for _ in range(20):
            reap([forked(lambda: publish(producer, "child") and None) for _ in range(10)])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed
    print("200 forks in {:.1f} s; the threads published {}".format(time.monotonic() - began, published))
    assert min(published) > 0
    producer.close()


def while_constructing() -> None:
    """Forks while a thread makes and closes clients; each child makes one of its own, and closes it."""
    stop = threading.Event()
    made = [0]

    def make() -> None:
        while not stop.wait(0.01):
            connected().close()
            made[0] += 1

    def child() -> None:
        producer = WorkflowEventProducer(connect_timeout=None)
        publish(producer, "child")
        began = time.monotonic()
        producer.close()
        seconds = time.monotonic() - began
        assert seconds < 60, "a close took {:.1f} s".format(seconds)

    thread = threading.Thread(target=make)
    thread.start()
    try:
        for turn in range(20):
            # The thread may stand still: the forks wait, so that they are spread over the making of several clients.
            poll(120, "clients are made", lambda: made[0], lambda count, wanted=turn / 3: count >= wanted)
            reap([forked(child) for _ in range(5)])
    finally:
        stop.set()
        thread.join()
    print("100 forks while {} clients were made".format(made[0]))
    assert made[0] > 5


def in_iterable() -> None:
    """The iterable of a publish_many forks: the parent's events are published, the child has no outcomes."""
    producer = connected()
    pids: List[int] = []

    def events() -> Iterator[Dict[str, Any]]:
        for _ in range(700):
            yield an_event("before")
        pids.append(os.fork())
        if pids == [0]:
            under_alarm(300)
        for _ in range(2600):
            yield an_event("after")

    summary = producer.publish_many(events(), timeout=300)
    if pids == [0]:
        os._exit(0 if summary.failed == 3300 and {outcome.kind for outcome in summary.outcomes} == {"closed"} else 3)
    reap(pids)
    for outcome in summary.outcomes:
        journal.write(outcome.status, outcome.event_id)
    producer.close()


def while_waiting() -> None:
    """Forks while a thread waits for a broker that does not answer: the child is not held up by the parent's wait."""
    producer = WorkflowEventProducer(connect_timeout=None)
    waiting = threading.Thread(target=lambda: publish(producer, "parent", timeout=150.0))
    waiting.start()
    # Its thread may stand still before it comes to the client, which refuses the event once it is closed.
    poll(120, "the parent waits", lambda: int(producer._native.flush(0)[0]), lambda count: count == 1)
    pids: List[int] = []
    while waiting.is_alive() and len(pids) < 3:
        pids.append(forked(lambda: publish(producer, "child", timeout=1.0) and None))
        reap(pids[-1:])
    assert len(pids) == 3, "the parent's publish had ended after {} children".format(len(pids))
    producer.close(timeout=0)  # It ends the parent's wait.
    waiting.join()


def child_closes() -> None:
    """A child closes the inherited client; a second drops it; a third leaves through the interpreter's own exit."""
    producer: Optional[WorkflowEventProducer] = connected()
    assert producer is not None
    must(producer, "parent before")

    def close() -> None:
        assert producer is not None
        producer.close()

    def drop() -> None:
        nonlocal producer
        producer = None
        gc.collect()

    reap([forked(close), forked(drop)])
    pid = os.fork()
    if pid == 0:
        under_alarm(300)
        sys.exit(0)  # atexit and the interpreter's end, in the child
    reap([pid])
    pid = os.fork()
    if pid == 0:
        under_alarm(300)
        must(producer, "child that leaves by sys.exit")
        sys.exit(0)
    reap([pid])
    must(producer, "parent after")
    producer.close()


def with_enqueued() -> None:
    """Forks with pending events in the parent: the parent's arrive once, the child's too."""
    producer = connected(linger_ms=200)
    # A child that is forked beside a look-up of the broker's host can look up none: the first event ends that.
    must(producer, "parent before")
    for turn in range(50):
        event = an_event("parent enqueued {}".format(turn))
        assert producer.enqueue_event(event)
        journal.write("enqueued", event["event_id"])
        if turn % 10 == 5:
            reap([forked(lambda: must(producer, "child"))])
    producer.flush(timeout=60)
    producer.close()


def exit_after_publish() -> None:
    """The interpreter ends straight after: no close, no flush."""
    producer = connected()
    must(producer, "then exit")


def exit_after_enqueue() -> None:
    """The same with enqueued events. NUMBER: how many seconds the exit has for them, when it is not the default."""
    if number:
        producer_module.EXIT_TIMEOUT = float(number)
    # Ten minutes for the client's own attempts: an exit that waited for them could not be taken for a slow disk's.
    producer = WorkflowEventProducer(connect_timeout=None, delivery_timeout_ms=600_000)
    for turn in range(100):
        event = an_event("enqueued {}".format(turn))
        # Until the client is made, which has a second, an event may go straight into the spool.
        status = "enqueued" if producer.enqueue_event(event) else "spooled"
        journal.write(status, event["event_id"])


def hard_exit() -> None:
    """os._exit straight after publish returned, whatever it returned."""
    producer = WorkflowEventProducer(connect_timeout=None)
    publish(producer, "then os._exit", timeout=1.0 if number else DEADLINE)
    os._exit(0)


_shared: Optional[WorkflowEventProducer] = None


def _work(turn: int) -> str:
    global _shared
    if _shared is None:
        _shared = connected()
    return publish(_shared, "worker {}".format(turn))


def pool(method: str) -> None:
    """A multiprocessing pool. Under fork the workers inherit a client that is in use."""
    global _shared
    _shared = connected()
    must(_shared, "before the pool")
    with multiprocessing.get_context(method).Pool(4) as workers:
        statuses = workers.map(_work, range(40))
        workers.close()
        workers.join()
    assert statuses == ["published"] * 40, statuses
    must(_shared, "after the pool")
    _shared.close()


SCENES: Dict[str, Callable[[], None]] = {
    "inherited": inherited,
    "lazily_inherited": lazily_inherited,
    "nested": nested,
    "two_hundred": two_hundred,
    "while_constructing": while_constructing,
    "in_iterable": in_iterable,
    "while_waiting": while_waiting,
    "child_closes": child_closes,
    "with_enqueued": with_enqueued,
    "exit_after_publish": exit_after_publish,
    "exit_after_enqueue": exit_after_enqueue,
    "hard_exit": hard_exit,
    "pool_fork": lambda: pool("fork"),
    "pool_spawn": lambda: pool("spawn"),
    "pool_forkserver": lambda: pool("forkserver"),
}

if __name__ == "__main__":
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING)
    SCENES[sys.argv[1]]()
