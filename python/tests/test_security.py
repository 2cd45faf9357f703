"""SASL_SSL and mutual TLS against a real broker, good and bad: the error says what is wrong and where to look, shows no
secret, and the event is in the spool."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

import pytest
from kit import broker as users
from kit.bridge import Bridge
from kit.broker import Broker
from kit.certs import KEY_PASSWORD
from kit.events import an_event
from kit.poll import poll
from kit.spool import SpoolFolder
from workflow_events import KafkaConfigurationError, KafkaError, Outcome, WorkflowEventProducer

# What a broker that is there may take for a handshake, on a machine that does much else.
PATIENCE = 60.0
# How long one is looked for that turns the client away, which always takes the whole time: usually long enough to hear
# why, and long enough on a machine that stood still.
ENOUGH = (10.0, 60.0)

WRONG_PASSWORD = "not-the-right-secret"
SECRETS = (users.SCRAM_PASSWORD, users.PLAIN_PASSWORD, WRONG_PASSWORD, KEY_PASSWORD, "PRIVATE KEY")


def scram(broker: Broker, **changes: Any) -> Dict[str, Any]:
    settings = {
        "bootstrap_servers": broker.sasl_ssl,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": users.SCRAM_USER,
        "sasl_password": users.SCRAM_PASSWORD,
        "ssl_cafile": broker.certs.ca,
    }
    return without_none({**settings, **changes})


def plain(broker: Broker, **changes: Any) -> Dict[str, Any]:
    user = {"sasl_mechanism": "PLAIN", "sasl_username": users.PLAIN_USER, "sasl_password": users.PLAIN_PASSWORD}
    return scram(broker, **{**user, **changes})


def mtls(broker: Broker, **changes: Any) -> Dict[str, Any]:
    settings = {
        "bootstrap_servers": broker.mtls,
        "security_protocol": "SSL",
        "ssl_cafile": broker.certs.ca,
        "ssl_certfile": broker.certs.client_cert,
        "ssl_keyfile": broker.certs.client_key,
    }
    return without_none({**settings, **changes})


def without_none(settings: Dict[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


GOOD = {
    "scram": scram,
    "plain": plain,
    "mutual tls": mtls,
    "mutual tls with an encrypted key": lambda broker: mtls(
        broker, ssl_keyfile=broker.certs.client_key_encrypted, properties={"ssl.key.password": KEY_PASSWORD}
    ),
}


@pytest.mark.parametrize("how", sorted(GOOD))
def test_the_right_credentials_publish(how: str, secured: Broker, spool: SpoolFolder) -> None:
    topic = secured.kafka.topic("security")
    event = an_event()
    with WorkflowEventProducer(**GOOD[how](secured), topic=topic, connect_timeout=PATIENCE) as producer:
        assert producer.publish_event(event, timeout=PATIENCE) is True
        assert not shown(repr(producer))
    assert secured.kafka.events(topic) == [event]
    assert spool.everything() == []


def test_the_right_credentials_come_from_the_environment(
    secured: Broker, monkeypatch: pytest.MonkeyPatch, spool: SpoolFolder
) -> None:
    topic = secured.kafka.topic("security")
    for name, value in scram(secured).items():
        monkeypatch.setenv("KAFKA_{}".format(name.upper()), value)
    monkeypatch.setenv("KAFKA_TOPIC", topic)
    event = an_event()
    with WorkflowEventProducer(connect_timeout=PATIENCE) as producer:
        assert producer.publish_event(event, timeout=PATIENCE) is True
    assert secured.kafka.events(topic) == [event]


def shown(text: str) -> List[str]:
    """The secrets in it."""
    return [secret for secret in SECRETS if secret in text]


class Bad(NamedTuple):
    """Settings that a broker turns away, and what the message has to name: one word of each group."""

    settings: Any
    says: Sequence[Sequence[str]]


PASSWORD = ("sasl_password", "KAFKA_SASL_PASSWORD")
AUTHENTICATION = ("uthentication", "credentials")
MECHANISM = ("sasl_mechanism", "KAFKA_SASL_MECHANISM")
CAFILE = ("ssl_cafile", "KAFKA_SSL_CAFILE")
CERTFILE = ("ssl_certfile", "KAFKA_SSL_CERTFILE")
PROTOCOL = ("security_protocol", "security.protocol", "KAFKA_SECURITY_PROTOCOL")
# What happened, rather than that all brokers are down.
HINT = ("closed the connection at the first request", "PLAINTEXT broker listener")

BAD = {
    "wrong password, scram": Bad(lambda b: scram(b, sasl_password=WRONG_PASSWORD), [AUTHENTICATION, PASSWORD]),
    "wrong password, plain": Bad(lambda b: plain(b, sasl_password=WRONG_PASSWORD), [AUTHENTICATION, PASSWORD]),
    "unknown user": Bad(lambda b: scram(b, sasl_username="nobody"), [AUTHENTICATION, ("sasl_username",)]),
    "mechanism that is not enabled": Bad(
        lambda b: scram(b, sasl_mechanism="SCRAM-SHA-256"), [("mechanism", "Mechanism"), MECHANISM]
    ),
    "wrong authority": Bad(lambda b: scram(b, ssl_cafile=b.certs.other_ca), [("certificate",), CAFILE]),
    "wrong authority, mutual": Bad(lambda b: mtls(b, ssl_cafile=b.certs.other_ca), [("certificate",), CAFILE]),
    "no authority": Bad(lambda b: scram(b, ssl_cafile=None), [("certificate",), CAFILE]),
    "wrong host name": Bad(
        lambda b: mtls(b, bootstrap_servers=b.elsewhere, ssl_certfile=None, ssl_keyfile=None),
        [("certificate",), ("host name", "hostname", "host names")],
    ),
    "no client certificate": Bad(lambda b: mtls(b, ssl_certfile=None, ssl_keyfile=None), [("certificate",), CERTFILE]),
    "expired client certificate": Bad(
        lambda b: mtls(b, ssl_certfile=b.certs.expired_cert, ssl_keyfile=b.certs.expired_key),
        [("certificate",), CERTFILE],
    ),
    "client certificate of another authority": Bad(
        lambda b: mtls(b, ssl_certfile=b.certs.stranger_cert, ssl_keyfile=b.certs.stranger_key),
        [("certificate",), CERTFILE],
    ),
    "plaintext client on a TLS listener": Bad(lambda b: {"bootstrap_servers": b.sasl_ssl}, [PROTOCOL, HINT]),
    "plaintext client on a mutual TLS listener": Bad(lambda b: {"bootstrap_servers": b.mtls}, [PROTOCOL, HINT]),
    "TLS client on a plaintext listener": Bad(lambda b: mtls(b, bootstrap_servers=b.bootstrap), [PROTOCOL, HINT]),
    "TLS without SASL on a SASL listener": Bad(lambda b: mtls(b, bootstrap_servers=b.sasl_ssl), [PROTOCOL]),
}


def check_message(message: str, bad: Bad) -> None:
    print(message)
    for words in bad.says:
        assert any(word in message for word in words), "none of {} in: {}".format(words, message)
    assert not shown(message)


def first_that_tells(attempt: Callable[[float], Any], message: Callable[[Any], str], bad: Bad) -> Any:
    """What it gives in the shorter time, or in the longer one if the message did not name the problem by then."""
    for within in ENOUGH:
        found = attempt(within)
        if said(message(found), bad):
            break
    return found


def in_each_case(work: Callable[[str], Any]) -> Dict[str, Any]:
    """What it gives in each of the bad cases, all at once: each takes its whole time-out."""
    cases = sorted(BAD)
    with ThreadPoolExecutor(len(cases)) as threads:
        return dict(zip(cases, threads.map(work, cases)))


def test_the_constructor_names_the_problem(secured: Broker) -> None:
    def construct(case: str) -> KafkaError:
        def attempt(within: float) -> KafkaError:
            with pytest.raises(KafkaError) as caught:
                WorkflowEventProducer(**BAD[case].settings(secured), connect_timeout=within)
            return caught.value

        error: KafkaError = first_that_tells(attempt, str, BAD[case])
        return error

    for case, error in in_each_case(construct).items():
        print("{}:".format(case))
        check_message(str(error), BAD[case])
        assert not shown(repr(error))


class Failed(NamedTuple):
    """A publish that was turned away, and the spool of its producer."""

    outcome: Outcome
    events: List[Dict[str, Any]]
    spool: SpoolFolder
    shown_as: str


def test_a_failed_publish_names_the_problem_and_spools_the_event(
    secured: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    topic = secured.kafka.topic("security")

    def publish(case: str) -> Failed:
        events: List[Dict[str, Any]] = []
        spool = SpoolFolder(tmp_path / case)
        settings = BAD[case].settings(secured)
        producer = WorkflowEventProducer(**settings, connect_timeout=None, topic=topic, spool_dir=spool.path)

        def attempt(within: float) -> Outcome:
            events.append(an_event())
            return producer.publish_event_outcome(events[-1], timeout=within)

        outcome: Outcome = first_that_tells(attempt, lambda outcome: outcome.message, BAD[case])
        events.append(an_event())
        assert producer.publish_event(events[-1], timeout=0.2) is False
        producer.close(timeout=0.5)
        return Failed(outcome, events, spool, repr(producer))

    for case, (outcome, events, spool, shown_as) in in_each_case(publish).items():
        print("{}:".format(case))
        assert outcome.status == "spooled", outcome.message
        check_message(outcome.message, BAD[case])
        assert not shown(shown_as)
        assert sorted(spool.event_ids()) == sorted(event["event_id"] for event in events)
        assert all(event in spool.events() for event in events)
        for path in spool.everything():
            assert not shown((spool.path / path).read_text())
    assert len(caplog.records) >= len(BAD)
    assert not shown(caplog.text)
    assert secured.kafka.read(topic) == []


class Mistake(NamedTuple):
    """Settings that are wrong before any broker is asked."""

    settings: Any
    names: str


MISTAKES = {
    "unknown mechanism": Mistake(lambda b: scram(b, sasl_mechanism="SCRAM-SHA-1024"), "sasl_mechanism"),
    "unknown protocol": Mistake(lambda b: scram(b, security_protocol="TLS"), "security_protocol"),
    "no password": Mistake(lambda b: scram(b, sasl_password=None), "sasl_password"),
    "no user": Mistake(lambda b: scram(b, sasl_username=None), "sasl_username"),
    "no such file": Mistake(lambda b: scram(b, ssl_cafile="/nowhere/ca.pem"), "/nowhere/ca.pem"),
    "a key without its certificate": Mistake(lambda b: mtls(b, ssl_certfile=None), "ssl_certfile"),
    "a certificate without its key": Mistake(lambda b: mtls(b, ssl_keyfile=None), "ssl_keyfile"),
    "a password without SASL": Mistake(
        lambda b: {"bootstrap_servers": b.bootstrap, "sasl_password": WRONG_PASSWORD}, "SASL"
    ),
    "a password that is no text": Mistake(lambda b: scram(b, sasl_password=12345678), "sasl_password"),
    "a password among the properties": Mistake(
        lambda b: scram(b, properties={"sasl.password": WRONG_PASSWORD}), "sasl_password"
    ),
}


@pytest.mark.parametrize("case", sorted(MISTAKES))
def test_a_mistake_in_the_settings_is_named_before_anybody_is_asked(case: str, secured: Broker) -> None:
    with pytest.raises(KafkaConfigurationError) as caught:
        WorkflowEventProducer(**MISTAKES[case].settings(secured), connect_timeout=None)
    assert MISTAKES[case].names in str(caught.value)
    assert not shown(str(caught.value)) and "12345678" not in str(caught.value)


def test_several_mistakes_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "KERBEROS")
    with pytest.raises(ValueError) as caught:
        WorkflowEventProducer("http://kafka", security_protocol="SASL_SSL", retries=-1, acks="some")
    message = str(caught.value)
    for name in ("retries", "acks", "bootstrap_servers", "sasl_mechanism (from the variable"):
        assert name in message


@pytest.mark.parametrize("broken", ["a certificate file that is none", "the wrong password of the key"])
def test_files_that_are_not_what_they_should_be_are_named(broken: str, secured: Broker, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("this is no certificate\n")
    settings = mtls(secured, ssl_cafile=str(text))
    if broken == "the wrong password of the key":
        properties = {"ssl.key.password": WRONG_PASSWORD}
        settings = mtls(secured, ssl_keyfile=secured.certs.client_key_encrypted, properties=properties)
    with pytest.raises(KafkaError) as caught:
        WorkflowEventProducer(**settings, connect_timeout=PATIENCE)
    message = str(caught.value)
    print(message)
    assert any(name in message for name in ("ssl.ca.location", "ssl_cafile", "ssl.key", "ssl_keyfile")), message
    assert not shown(message)


def test_a_refused_event_is_published_with_the_right_credentials(secured: Broker, spool: SpoolFolder) -> None:
    topic = secured.kafka.topic("security")
    event = an_event()
    wrong = WorkflowEventProducer(**scram(secured, sasl_password=WRONG_PASSWORD), connect_timeout=None, topic=topic)
    assert wrong.publish_event(event, timeout=1.0) is False
    wrong.close(timeout=0.5)
    with WorkflowEventProducer(**scram(secured), topic=topic, connect_timeout=PATIENCE) as right:

        def waiting() -> List[str]:
            # One publish is enough, but for a machine that needs more than a second for what waits.
            right.publish_event(an_event(), timeout=60)
            return spool.everything()

        poll(180, "the spool is empty", waiting, lambda files: files == [], every=0.5)
        secured.kafka.wait_ids(topic, [event["event_id"]])


# The bridge's consumer, over the same listeners.

LISTENERS = {"scram": scram, "plain": plain, "mutual tls": mtls}


def variables(settings: Dict[str, Any]) -> Dict[str, str]:
    return {"KAFKA_{}".format(name.upper()): value for name, value in settings.items()}


@pytest.mark.parametrize("how", sorted(LISTENERS))
def test_the_bridge_reads_over_each_listener(how: str, secured: Broker) -> None:
    topic = secured.kafka.topic("bridge")
    secured.kafka.create_topic("{}.dlq".format(topic))
    settings = LISTENERS[how](secured)
    event = an_event()
    with Bridge(secured.kafka, topic, variables(settings)) as bridge:
        with WorkflowEventProducer(**settings, topic=topic, connect_timeout=PATIENCE) as producer:
            assert producer.publish_event(event, timeout=PATIENCE) is True
        assert bridge.accepted(event["event_id"]) == event
        assert not shown("\n".join(bridge.process.lines()))


@pytest.mark.parametrize("case", sorted(BAD))
def test_the_bridge_names_the_problem_and_keeps_trying(case: str, secured: Broker) -> None:
    topic = secured.kafka.topic("bridge")
    with Bridge(secured.kafka, topic, variables(BAD[case].settings(secured))) as bridge:

        def complaints() -> str:
            return "\n".join(line for line in bridge.process.lines() if '"level":"INFO"' not in line)

        text = poll(120, "the bridge says what is wrong", complaints, lambda text: said(text, BAD[case]))
        print(text[:2000])
        assert not shown("\n".join(bridge.process.lines()))
        assert bridge.process.status() is None


def said(text: str, bad: Bad) -> bool:
    return all(any(word in text for word in words) for words in bad.says)
