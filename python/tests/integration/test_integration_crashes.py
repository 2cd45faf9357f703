"""Consumers that are killed: nothing is lost, and nothing repeated but what was under way."""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import List, Tuple

from kit.consuming import Writer, committed, envelope, group_name
from kit.poll import poll
from kit.programs import Journal, Running, finish, start
from kit.reader import Kafka

#: Events of the test with five SIGKILLs: CONSUME_EVENTS=20000 for longer.
EVENTS = int(os.environ.get("CONSUME_EVENTS", "2000"))
KEYS = 20
#: Calls that have ended and are not in the ledger yet: those of the last milliseconds before a SIGKILL.
UNDER_WAY = 32
WITHIN = 300.0


def program(scene: str, kafka: Kafka, topic: str, group: str, journal: Journal) -> Running:
    return start("consume", scene, kafka.bootstrap, topic, group, str(journal.path))


def lines(journal: Journal) -> List[Tuple[str, str]]:
    whole = journal.path.read_text() if journal.path.exists() else ""
    found = [line.split(" ", 1) for line in whole.splitlines()]
    return [(status, name) for status, name in found]


def ended(process: Running, kafka: Kafka, group: str, topic: str, partitions: List[int]) -> None:
    """Everything is committed, and the program stops when it is told to."""
    poll(
        WITHIN,
        "everything is committed",
        lambda: (process.poll(), committed(kafka, group, topic, len(partitions))),
        lambda seen: seen[0] is not None or seen[1] == partitions,
    )
    process.send_signal(signal.SIGTERM)
    done = finish(process, WITHIN)
    assert done.status == 0, done.printed


def test_a_sigkill_in_a_handler_loses_nothing_and_repeats_one(kafka: Kafka, tmp_path: Path) -> None:
    topic, group, journal = kafka.topic("notes"), group_name(), Journal(tmp_path / "journal")
    writer = Writer(kafka)
    for text in ("a", "b", "kill", "c", "d"):
        writer.write(topic, envelope("Noted", text=text, aggregate_id="one"), key="one")
    writer.flush()
    assert finish(program("killed", kafka, topic, group, journal), WITHIN).status == -signal.SIGKILL
    ended(program("killed", kafka, topic, group, journal), kafka, group, topic, [5])
    assert journal.ids("begun") == ["a", "b", "kill", "kill", "c", "d"]
    assert journal.ids("done") == ["a", "b", "kill", "c", "d"]


def test_five_sigkills_lose_nothing_repeat_only_what_was_under_way_and_keep_the_order(
    kafka: Kafka, tmp_path: Path
) -> None:
    topic, group, journal = kafka.topic("notes", partitions=2), group_name(), Journal(tmp_path / "journal")
    writer = Writer(kafka)
    names = []
    for number in range(EVENTS // KEYS):
        for key in range(KEYS):
            event = envelope("Noted", text=str(key), number=number, aggregate_id=str(key))
            writer.write(topic, event, key=str(key), partition=key % 2)
            names.append("{}/{}".format(key, number))
    writer.flush()

    kills: List[int] = []
    for share in range(1, 6):
        process = program("raises", kafka, topic, group, journal)
        poll(
            WITHIN,
            "a share of the events is handled",
            lambda process=process: (process.poll(), len(set(journal.ids("done")))),  # type: ignore[misc]
            lambda seen, share=share: seen[0] is not None or seen[1] >= share * EVENTS // 6,  # type: ignore[misc]
            every=0.01,
        )
        assert process.poll() is None, process.end()
        process.kill()
        process.end()
        kills.append(len(lines(journal)))
    ended(program("raises", kafka, topic, group, journal), kafka, group, topic, [EVENTS // 2] * 2)

    history = lines(journal)
    done = [name for status, name in history if status == "done"]
    assert set(done) == set(names), "none is lost"
    # Of each that was done again, how many calls ended between its first end and the SIGKILL after it.
    repeated = [name for name, count in Counter(done).items() if count > 1]
    late = {}
    for name in repeated:
        at = history.index(("done", name))
        kill = next(kill for kill in kills if kill > at)
        late[name] = sum(status == "done" for status, _ in history[at + 1 : kill])
    print("{} of {} were handled again: {}".format(len(repeated), EVENTS, sorted(late.values())))
    assert len(done) - len(names) <= 5 * UNDER_WAY and max(late.values(), default=0) <= UNDER_WAY, late
    for key in range(KEYS):
        firsts = list(dict.fromkeys(name for name in done if name.startswith("{}/".format(key))))
        assert firsts == ["{}/{}".format(key, number) for number in range(EVENTS // KEYS)]


def test_a_forked_child_cannot_consume_and_disturbs_its_parent_by_nothing(kafka: Kafka, tmp_path: Path) -> None:
    topic, group, journal = kafka.topic("notes"), group_name(), Journal(tmp_path / "journal")
    writer = Writer(kafka)
    writer.write(topic, envelope("Noted", text="before"))
    writer.flush()
    process = program("forks", kafka, topic, group, journal)
    poll(WITHIN, "it has forked", lambda: (process.poll(), journal.ids("forked")), any)
    writer.write(topic, envelope("Noted", text="after"))
    writer.flush()
    done = finish(process, WITHIN)
    assert done.status == 0, done.printed
    assert journal.ids("done") == ["before", "after"]
