"""The consumer of integration events beside aiokafka and FastStream: one broker, one run, the clients in turns.

Each has a process and a group of its own in each round, and the same trivial async handler; rounds begin with another
client each time. Prints a table; needs the jars of `make kafka-jars`. `make bench-consume` runs it with the release
wheel. What is compared is not the same work: ours writes a ledger and remembers each event, one by one, over restarts.
"""

import argparse
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "python" / "tests"))

from kit.broker import Broker  # noqa: E402
from worker import NAMES  # noqa: E402


def fill(kafka, topic, count):
    """Records of some 700 bytes with 100 keys."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 20})
    for number in range(count):
        key = str(number % 100)
        head = {
            "event_id": str(uuid.uuid4()),
            "event_type": "Measured",
            "event_version": "1.0",
            "occurred_at": "2026-01-01T00:00:00Z",
            "correlation_id": None,
            "causation_id": None,
            "source_service": "bench",
        }
        payload = {**head, "aggregate_id": key, "number": number, "text": "{:0200x}".format(number)}
        while True:
            try:
                producer.produce(topic, json.dumps({**head, "payload": payload}).encode(), key)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(300):
        raise SystemExit("the records are not acknowledged")


def measure(name, servers, topic, count, state):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KAFKA_", "WORKFLOW_EVENTS_"))}
    environment = {**kept, "XDG_STATE_HOME": state, "WORKFLOW_EVENTS_SPOOL_DIR": "off"}
    group = "bench-{}".format(secrets.token_hex(4))
    command = [sys.executable, str(HERE / "worker.py"), name, servers, topic, group, str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise SystemExit("{} failed:\n{}".format(name, done.stderr))
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="events of a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds")
    parser.add_argument("--partitions", type=int, default=4, help="partitions of the topic")
    options = parser.parse_args()

    from importlib.metadata import version

    found = {name: [] for name in NAMES}
    with Broker() as broker, tempfile.TemporaryDirectory() as state:
        topic = broker.kafka.topic("bench", options.partitions)
        fill(broker.kafka, topic, options.events)
        for number in range(options.rounds):
            start = number % len(NAMES)
            for name in NAMES[start:] + NAMES[:start]:
                # A commit for each takes long enough for a part of them.
                count = options.events // 10 if "each" in name else options.events
                result = measure(name, broker.bootstrap, topic, count, state)
                found[name].append((count / result["seconds"], result["peak"]))

    versions = ", ".join("{} {}".format(name, version(name)) for name in ("workflow-events", "aiokafka", "faststream"))
    print("{}; Python {}, {} CPUs".format(versions, platform.python_version(), os.cpu_count()))
    ours = statistics.median(rate for rate, _ in found[NAMES[0]])
    print("{:<30}{:>12}{:>10}{:>22}{:>12}".format("", "handled/s", "ratio", "spread", "peak, MiB"))
    for name, results in found.items():
        rates = [rate for rate, _ in results]
        middle, peak = statistics.median(rates), max(peak for _, peak in results)
        spread = "{:,.0f} to {:,.0f}".format(min(rates), max(rates))
        print("{:<30}{:>12,.0f}{:>10.2f}{:>22}{:>12.0f}".format(name, middle, middle / ours, spread, peak))


if __name__ == "__main__":
    main()
