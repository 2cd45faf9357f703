"""A real Apache Kafka (KRaft, one node) on ports and data of its own, with plain and secured listeners.

The jars are those of ``make kafka-jars``. Invariant: it ends with the tests, and its ports and data stay the same over
a stop, a kill and a start.
"""

import os
import signal
from pathlib import Path
from typing import Any, Dict, List, Optional

from .process import ROOT, Process, Scratch, free_port, prepared
from .reader import Kafka

READY = 240.0

SCRAM_USER, SCRAM_PASSWORD = "alice", "alice-in-a-scram-secret"
PLAIN_USER, PLAIN_PASSWORD = "bob", "bob-in-a-plain-secret"


class Broker:
    """A broker that runs, until :meth:`close`.

    ``kafka`` is its plain listener. With ``secured`` it also has, each as ``host:port``: ``sasl_ssl`` (SCRAM-SHA-512
    and PLAIN, the users above), ``mtls`` (a client certificate is demanded), ``elsewhere`` (TLS with a certificate for
    another host); and ``certs``.
    """

    def __init__(self, settings: Optional[Dict[str, str]] = None, secured: bool = False) -> None:
        self._scratch = Scratch("kafka")
        self.folder = self._scratch.path
        port = free_port()
        self.kafka = Kafka("127.0.0.1:{}".format(port))
        self.bootstrap = self.kafka.bootstrap
        listeners = {"PLAINTEXT": port}
        extra: Dict[str, str] = {}
        scram: List[str] = []
        if secured:
            from .certs import Certificates

            self.certs = Certificates(self.folder)
            listeners.update(SASLSSL=free_port(), MTLS=free_port(), ELSEWHERE=free_port())
            self.sasl_ssl = "127.0.0.1:{}".format(listeners["SASLSSL"])
            self.mtls = "127.0.0.1:{}".format(listeners["MTLS"])
            self.elsewhere = "127.0.0.1:{}".format(listeners["ELSEWHERE"])
            extra = _security(self.certs)
            scram = ["--add-scram", "SCRAM-SHA-512=[name={},password={}]".format(SCRAM_USER, SCRAM_PASSWORD)]
        properties = _properties(self.folder / "data", listeners)
        properties.update(extra)
        properties.update(settings or {})
        text = "\n".join("{}={}".format(*pair) for pair in properties.items())
        (self.folder / "server.properties").write_text(text)
        try:
            arguments = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg"]
            made = self._java("Kafka's StorageTool", [*arguments, "-c", "server.properties", *scram])
            assert made.wait(READY) == 0, "Kafka's storage could not be formatted:\n{}".format(made.tail())
            self._process = self._run()
        except BaseException:
            self._scratch.remove()
            raise

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, no client is notified."""
        self._process.kill()

    def stop(self) -> None:
        """SIGTERM, and waits: the broker ends as an operator would end it."""
        self._process.signal(signal.SIGTERM)
        self._process.wait(READY)

    def start_again(self) -> None:
        """On the same ports and data; returns when it is ready."""
        assert self._process.status() is not None, "the broker still runs"
        self._process = self._run()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        return self._process.tail(200)

    def close(self) -> None:
        self._process.kill()
        self._scratch.remove()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: Optional[object]) -> None:
        self.close()

    def _run(self) -> Process:
        process = self._java("the Kafka broker", ["kafka.Kafka", "server.properties"])
        try:
            process.wait_line("Kafka Server started", READY)
        except BaseException:
            process.kill()
            raise
        return process

    def _java(self, what: str, arguments: List[str]) -> Process:
        jars = prepared("kafka/libs")
        assert jars.is_dir(), "Apache Kafka's jars are not in {}: run `make kafka-jars`".format(jars)
        logging = ROOT / "tests" / "kafka" / "log4j2.properties"
        environment = {name: value for name, value in os.environ.items() if name not in _JAVA_VARIABLES}
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command = [
            "java",
            *options,
            "-Dlog4j2.configurationFile={}".format(logging),
            "-cp",
            str(jars / "*"),
            *arguments,
        ]
        return Process(what, command, self.folder / "broker.log", self.folder, environment)


_JAVA_VARIABLES = {"KAFKA_OPTS", "JAVA_TOOL_OPTIONS"}


def _properties(data: Path, listeners: Dict[str, int]) -> Dict[str, str]:
    controller = free_port()
    urls = ",".join("{}://127.0.0.1:{}".format(name, port) for name, port in listeners.items())
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@127.0.0.1:{}".format(controller),
        "listeners": "{},CONTROLLER://127.0.0.1:{}".format(urls, controller),
        "advertised.listeners": urls,
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "2",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "auto.create.topics.enable": "false",
    }


def _security(certs: Any) -> Dict[str, str]:
    login = "org.apache.kafka.common.security.{} required"
    return {
        "listener.security.protocol.map": (
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASLSSL:SASL_SSL,MTLS:SSL,ELSEWHERE:SSL"
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certs.server,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certs.ca,
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.elsewhere.ssl.keystore.type": "PEM",
        "listener.name.elsewhere.ssl.keystore.location": certs.elsewhere,
        "listener.name.saslssl.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.saslssl.scram-sha-512.sasl.jaas.config": login.format("scram.ScramLoginModule") + ";",
        "listener.name.saslssl.plain.sasl.jaas.config": '{} user_{}="{}";'.format(
            login.format("plain.PlainLoginModule"), PLAIN_USER, PLAIN_PASSWORD
        ),
    }
