"""Imported by the files beside it: what runs their tasks and callbacks has an environment of its own, as on a host of
its own, and the patience of a slow machine. A scheduler imports none of them, and stays as it was started."""

import json
import os

from workflow_events.producer import WorkflowEventProducer

OWN = os.environ.get("TEST_TASKS_ENVIRONMENT")
os.environ.update(json.loads(OWN or "{}"))

LEAST = 60.0

_deadline = WorkflowEventProducer._deadline


def _patient(self, timeout):
    """A callback's second or a task's five may be too short for a first connection. Such an event is spooled and on its
    way at once, and when its process ends before the acknowledgement it is published twice: what the tests count must
    not depend on that. 0, which is straight into the spool, stays 0."""
    seconds = _deadline(self, timeout)
    return max(seconds, LEAST) if seconds > 0 else seconds


# Not for what runs alone, and may be about a broker that is away.
if OWN is not None:
    WorkflowEventProducer._deadline = _patient
