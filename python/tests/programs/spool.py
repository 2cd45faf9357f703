"""What test_spool_outages.py and test_spool_fails.py run: ``spool.py SCENE JOURNAL``.

Broker, topic and spool come from the environment.
"""

import faulthandler
import logging
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict

from kit import events
from kit.programs import Journal
from workflow_events import WorkflowEventProducer

# What a publish may take beyond its deadline, on a machine with more to do than it can: less than the two minutes for
# which the client itself tries to deliver.
LATE = 80.0

journal = Journal(Path(sys.argv[2]))


def an_event() -> Dict[str, Any]:
    """Of one of fifty runs, and of any size."""
    padding = {"padding": "x" * random.randrange(2000)}
    return events.an_event(workflow_run_id=str(random.randrange(50)), payload={"data": padding})


def publish(producer: WorkflowEventProducer, timeout: float) -> str:
    event = an_event()
    began = time.monotonic()
    outcome = producer.publish_event_outcome(event, timeout=timeout)
    seconds = time.monotonic() - began
    journal.write(outcome.status, event["event_id"])
    if seconds > timeout + LATE:
        journal.write("late", "{:.2f}".format(seconds))
    return str(outcome.status)


def worker() -> None:
    """Publishes until it is killed: with acknowledgement, straight into the spool, and enqueued."""
    producer = WorkflowEventProducer(connect_timeout=None)
    while True:
        publish(producer, random.choice([0, 0.05, 0.5, 2.0]))
        journal.write("worker", str(os.getpid()))
        if random.random() < 0.02:
            producer.close(timeout=1.0)
            producer = WorkflowEventProducer(connect_timeout=None)


def file_size_limit() -> None:
    """A disk that takes no more: every write beyond 200 bytes of a file fails."""
    producer = WorkflowEventProducer(connect_timeout=None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
    event = an_event()
    print("returned {}".format(producer.publish_event(event, timeout=0.2)))
    print("event {}".format(event["event_id"]))


def one() -> None:
    """One publish to a broker that is not there."""
    producer = WorkflowEventProducer(connect_timeout=None)
    event = an_event()
    event["payload"]["data"]["padding"] = "x" * 100_000
    print("returned {}".format(producer.publish_event(event, timeout=0.2)))
    print("event {}".format(event["event_id"]))


SCENES: Dict[str, Callable[[], None]] = {"worker": worker, "file_size_limit": file_size_limit, "one": one}

if __name__ == "__main__":
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    SCENES[sys.argv[1]]()
