"""Fork, exit and os._exit: nothing hangs, and what was acknowledged or spooled is in Kafka or in the spool.

Each scene of programs/fork.py runs in an interpreter of its own, under a deadline, and writes down what it was told.
"""

from pathlib import Path
from typing import Dict, Iterator, List

import pytest
from kit import broker as users
from kit.broker import Broker
from kit.programs import Ended, Journal, run
from kit.reader import Kafka
from kit.silent import SilentServer
from kit.spool import SpoolFolder


class Stage:
    """A cluster that scenes publish to, and where to look afterwards."""

    def __init__(self, kafka: Kafka, variables: Dict[str, str], journal: Journal, spool: SpoolFolder) -> None:
        self.kafka, self.journal, self.spool = kafka, journal, spool
        self.topic = kafka.topic("fork")
        self.variables = {**variables, "KAFKA_TOPIC": self.topic}

    def play(self, scene: str, *arguments: str, within: float = 600.0) -> Ended:
        ended = run("fork", scene, str(self.journal.path), *arguments, within=within, environment=self.variables)
        print(ended.printed)
        return ended

    def in_kafka(self) -> List[str]:
        return self.kafka.event_ids(self.topic)

    def check(self, events: int) -> None:
        """So many events, each acknowledged, each in Kafka once, none in the spool."""
        promised = self.journal.ids("published", "enqueued")
        assert len(promised) == len(self.journal.ids()) == events
        assert sorted(self.in_kafka()) == sorted(promised)
        assert self.spool.everything() == []

    def check_spooled(self, most: int) -> None:
        """Each event that was acknowledged is in Kafka once and not in the spool. So many others at most are in the
        spool, or in Kafka since: a later publish may have brought them there, a broker may have taken them late, or
        both."""
        published, spooled = self.journal.ids("published"), self.journal.ids("spooled")
        print("{} published, {} spooled".format(len(published), len(spooled)))
        assert len(published) + len(spooled) == len(self.journal.ids())
        assert len(spooled) <= most
        in_kafka, in_spool = self.in_kafka(), self.spool.event_ids()
        assert set(in_kafka) | set(in_spool) == set(published) | set(spooled)
        assert sorted(event_id for event_id in in_kafka if event_id not in spooled) == sorted(published)
        assert not set(published) & set(in_spool)


@pytest.fixture(params=["plaintext", "sasl_ssl"])
def stage(request: pytest.FixtureRequest, secured: Broker, tmp_path: Path, spool: SpoolFolder) -> Iterator[Stage]:
    variables = {"KAFKA_BOOTSTRAP_SERVERS": secured.bootstrap}
    if request.param == "sasl_ssl":
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": secured.sasl_ssl,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": users.SCRAM_USER,
            "KAFKA_SASL_PASSWORD": users.SCRAM_PASSWORD,
            "KAFKA_SSL_CAFILE": secured.certs.ca,
        }
    yield Stage(secured.kafka, variables, Journal(tmp_path / "journal"), spool)


def test_an_inherited_client_works_in_the_child_and_in_the_parent(stage: Stage) -> None:
    stage.play("inherited")
    stage.check(11)


def test_a_client_that_was_never_used_is_inherited_too(stage: Stage) -> None:
    stage.play("lazily_inherited")
    stage.check(2)


def test_five_generations_share_one_client(stage: Stage) -> None:
    stage.play("nested")
    stage.check(10)


# A child that is forked while its parent looks up a host inherits a lock of the C library that nobody gives back: it
# can look up none, so it reaches no broker, and its event is in the spool by the deadline. That is rare, and no more:
# the ten children of one round are forked in one moment, and there are few such moments, if any.
RARE = 30


def test_two_hundred_forks_while_four_threads_publish(stage: Stage) -> None:
    stage.play("two_hundred", within=1200)
    stage.check_spooled(RARE)
    assert len(stage.journal.ids("published")) > 200


def test_forks_while_clients_are_being_made(stage: Stage) -> None:
    stage.play("while_constructing", within=1200)
    stage.check_spooled(RARE)
    assert len(stage.journal.ids()) == 100


def test_a_fork_in_the_middle_of_a_publish_many_is_the_parents_publish(stage: Stage) -> None:
    stage.play("in_iterable")
    stage.check(3300)


def test_a_child_may_close_or_drop_the_client_or_leave_by_sys_exit(stage: Stage) -> None:
    stage.play("child_closes")
    stage.check(3)


def test_the_pending_events_of_a_parent_are_published_once_whatever_forks(stage: Stage) -> None:
    stage.play("with_enqueued")
    stage.check(56)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_multiprocessing_pool_publishes(stage: Stage, method: str) -> None:
    stage.play("pool_{}".format(method))
    stage.check(42)


def test_the_interpreter_may_end_straight_after_a_publish(stage: Stage) -> None:
    ended = stage.play("exit_after_publish")
    assert ended.seconds < 100, "the whole program took {:.1f} s".format(ended.seconds)
    stage.check(1)


def test_the_interpreter_may_end_straight_after_an_enqueue(stage: Stage) -> None:
    # A broker that is there gets them all, however long a busy machine takes for that.
    stage.play("exit_after_enqueue", "60")
    promised = stage.journal.ids()
    assert len(promised) == 100
    assert stage.journal.ids("enqueued")
    kept = set(stage.in_kafka()) | set(stage.spool.event_ids())
    assert set(promised) <= kept, "lost: {}".format(set(promised) - kept)
    assert stage.in_kafka(), "the broker was there"


def test_os_exit_straight_after_an_acknowledgement_loses_nothing(stage: Stage) -> None:
    for _ in range(5):
        stage.play("hard_exit")
    stage.check(5)


# Without a broker: the event is in the spool, whatever ends the process.


def nowhere(servers: str) -> Dict[str, str]:
    return {"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_TOPIC": "nowhere"}


def play_without_broker(scene: str, servers: str, journal: Journal, *arguments: str) -> Ended:
    ended = run("fork", scene, str(journal.path), *arguments, within=600, environment=nowhere(servers))
    print(ended.printed)
    return ended


@pytest.mark.parametrize("where", ["refused", "silent"])
def test_os_exit_straight_after_a_spooled_publish_loses_nothing(
    where: str, silent: SilentServer, spool: SpoolFolder, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    for _ in range(3):
        play_without_broker("hard_exit", "127.0.0.1:1" if where == "refused" else silent.bootstrap, journal, "1")
    assert len(journal.ids("spooled")) == len(journal.ids()) == 3
    assert sorted(spool.event_ids()) == sorted(journal.ids("spooled"))


@pytest.mark.parametrize("where", ["refused", "silent"])
def test_the_interpreters_exit_spools_enqueued_events(
    where: str, silent: SilentServer, spool: SpoolFolder, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    servers = "127.0.0.1:1" if where == "refused" else silent.bootstrap
    ended = play_without_broker("exit_after_enqueue", servers, journal)
    assert len(journal.ids()) == 100
    assert journal.ids("enqueued")
    assert sorted(spool.event_ids()) == sorted(journal.ids())
    # The client itself would go on trying for ten minutes, and a slow disk takes its time for a hundred files.
    assert ended.seconds < 300, "the whole program took {:.1f} s".format(ended.seconds)


def test_a_child_is_not_held_up_by_a_parent_that_waits(
    silent: SilentServer, spool: SpoolFolder, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    play_without_broker("while_waiting", silent.bootstrap, journal)
    assert set(journal.ids()) == set(journal.ids("spooled"))
    assert len(journal.ids()) == 4, "three children and the parent"
    assert sorted(spool.event_ids()) == sorted(journal.ids())
