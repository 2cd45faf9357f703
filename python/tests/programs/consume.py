"""What test_integration_crashes.py runs: ``consume.py SCENE SERVERS TOPIC GROUP JOURNAL``.

Each call of the handler is in the journal, before and after.
"""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from integration_events import IntegrationEvent, KafkaConfig, KafkaIntegrationEventConsumer
from kit.consuming import eventually
from kit.programs import Journal, forked, reap

SCENE, SERVERS, TOPIC, GROUP = sys.argv[1:5]
journal = Journal(Path(sys.argv[5]))


class Noted(IntegrationEvent):
    text: str
    number: int = 0


def config(group: str = GROUP, **more: Any) -> KafkaConfig:
    return KafkaConfig(
        bootstrap_servers=SERVERS,
        consumer_group_id=group,
        consumer_session_timeout_ms=2000,
        consumer_heartbeat_interval_ms=300,
        retry_backoff_ms=5,
        retry_backoff_max_ms=20,
        **more,
    )


async def killed(event: Noted) -> None:
    journal.write("begun", event.text)
    mark = journal.path.with_suffix(".killed")
    if event.text == "kill" and not mark.exists():
        await asyncio.sleep(2)  # What was handled before is in the ledger.
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    journal.write("done", event.text)


async def raises(event: Noted) -> None:
    name = "{}/{}".format(event.text, event.number)
    journal.write("begun", name)
    await asyncio.sleep(0.002)
    if random.random() < 0.05:
        raise ValueError("one of twenty")
    journal.write("done", name)


async def consume(handler: Any, **more: Any) -> None:
    consumer = KafkaIntegrationEventConsumer(config(**more))
    consumer.register_handler_function(Noted, handler, name="handler")
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM,
        lambda: asyncio.ensure_future(consumer.stop()),  # type: ignore[arg-type, return-value]
    )
    await consumer.start(TOPIC)
    await consumer.wait_closed()


async def forks() -> None:
    consumer = KafkaIntegrationEventConsumer(config())

    async def note(event: Noted) -> None:
        journal.write("done", event.text)

    consumer.register_handler_function(Noted, note)
    await consumer.start(TOPIC)
    async with consumer:
        await eventually("one is handled", lambda: journal.ids("done"))

        async def in_child() -> None:
            own = KafkaIntegrationEventConsumer(config(GROUP + "-child"))
            own.register_handler_function(Noted, note)
            for call in (consumer.start, consumer.stop, consumer.wait_closed, own.start):
                try:
                    await call()
                except RuntimeError as error:
                    assert "a consumer cannot be used after a fork" in str(error), error
                else:
                    raise AssertionError("the parent consumes")

        def child() -> None:
            assert not consumer.is_started
            asyncio.run(in_child())

        reap([forked(child)])
        assert consumer.is_started
        journal.write("forked", "child")
        await eventually("one more is handled", lambda: journal.ids("done"), lambda ids: len(ids) == 2)


SCENES = {
    "killed": lambda: consume(killed),
    "raises": lambda: consume(raises, max_retry_attempts=20),
    "forks": forks,
}

if __name__ == "__main__":
    asyncio.run(SCENES[SCENE]())
