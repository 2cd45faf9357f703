"""Copies and pickles: outcomes and summaries allow them, producers refuse them."""

import copy
import pickle
from typing import Any, Callable

import pytest
from kit.reader import Kafka
from kit.spool import SpoolFolder
from workflow_events import AsyncWorkflowEventProducer, Outcome, PublishSummary, WorkflowEventProducer

EVENT = {
    "event_id": "e-1",
    "event_type": "WORKFLOW_COMPLETED",
    "source": "AIRFLOW",
    "workflow_id": "d",
    "workflow_run_id": "r",
    "payload": {"data": {}},
    "metadata": {},
}
FIELDS = ("status", "kind", "event_id", "message", "published", "partition", "offset", "path", "event")

WAYS = [copy.copy, copy.deepcopy, *(lambda x, n=n: pickle.loads(pickle.dumps(x, n)) for n in range(2, 6))]


@pytest.mark.parametrize("again", WAYS)
def test_an_outcome_and_a_summary_survive_a_copy(
    again: Callable[[Any], Any], kafka: Kafka, topic: str, spool: SpoolFolder
) -> None:
    with WorkflowEventProducer(kafka.bootstrap, topic=topic, connect_timeout=60) as producer:
        published = producer.publish_event_outcome(EVENT, timeout=60)
        spooled = producer.publish_event_outcome(EVENT, timeout=0)
        failed = producer.publish_event_outcome({**EVENT, "payload": object()})
        drained = producer.drain_spool()
    lost = Outcome("lost", "lost", "e-2", "no room", event="{}")
    for outcome in (published, spooled, failed, lost):
        other = again(outcome)
        assert other == outcome
        assert hash(other) == hash(outcome)
        assert [getattr(other, name) for name in FIELDS] == [getattr(outcome, name) for name in FIELDS]
    assert published != spooled
    summary = again(PublishSummary([published, spooled, failed, lost]))
    assert (summary.published, summary.spooled, summary.failed) == (1, 1, 2)
    assert summary.outcomes == [published, spooled, failed, lost]
    assert repr(again(drained)) == repr(drained)


@pytest.mark.parametrize("kind", [WorkflowEventProducer, AsyncWorkflowEventProducer])
@pytest.mark.parametrize("again", WAYS)
def test_a_producer_has_no_copy_that_could_close_it(again: Callable[[Any], Any], kind: Any) -> None:
    producer = kind("127.0.0.1:1", connect_timeout=None, spool_dir=False)
    with pytest.raises(TypeError, match="a producer cannot be copied or pickled: share it among threads"):
        again(producer)
    assert not producer.closed
