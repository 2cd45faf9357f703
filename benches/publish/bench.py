"""The publish client beside kafka-python and confluent-kafka: one broker, one run, the clients in turns.

Each client has a process of its own. Rounds are interleaved and begin with another client each time, so that what the
machine does meanwhile falls on all of them; ratios hold better than figures. Prints a table; needs the jars of
`make kafka-jars`. `make bench-publish` runs it with the release wheel.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "python" / "tests"))

from clients import IMPORTS, MORE_IN_FLIGHT, NAMES  # noqa: E402
from kit.broker import Broker  # noqa: E402

OURS, CONFLUENT, KAFKA_PYTHON = NAMES
# Events that are published before the first round: enough for each partition to get some.
WARM = 1000


def environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "WORKFLOW_EVENTS_"))}
    return {**kept, "WORKFLOW_EVENTS_SPOOL_DIR": "off"}


def turns(names, rounds):
    """Every name in each round, in an order that is the same in each run, so that none always follows the same other."""
    order, chance = list(names), random.Random(rounds)
    for _ in range(rounds):
        chance.shuffle(order)
        yield from order


def measure_imports(rounds):
    """Milliseconds of the import statement, in a fresh interpreter."""
    took = {name: [] for name in IMPORTS}
    for name in turns(IMPORTS, rounds):
        program = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
        command = [sys.executable, "-c", program.format(IMPORTS[name])]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=60)
        took[name].append(float(done.stdout) * 1000)
    return took


def measure_first(servers, topic, rounds):
    """Milliseconds from the start of the process to the first acknowledgement."""
    took = {name: [] for name in NAMES}
    for name in turns(NAMES, rounds):
        command = [sys.executable, str(HERE / "worker.py"), name, servers, "first", topic]
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise SystemExit("{} failed:\n{}".format(name, done.stderr))
        took[name].append((float(done.stdout) - began) * 1000)
    return took


class Worker:
    """A client in a process of its own."""

    def __init__(self, name, servers):
        command = [sys.executable, str(HERE / "worker.py"), name, servers]
        self.name = name
        self._process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, do, topic, count):
        self._process.stdin.write(json.dumps({"do": do, "topic": topic, "count": count}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("{} ended while it was asked for {}".format(self.name, do))
        return json.loads(answer)

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def measure_acknowledged(workers, kafka, rounds, count):
    """Milliseconds of each acknowledged publish."""
    topic = kafka.topic("acknowledged")
    took = {name: [] for name in NAMES}
    for worker in workers.values():
        worker.ask("acknowledged", topic, 100)  # connections, caches
    for name in turns(NAMES, rounds):
        took[name] += [seconds * 1000 for seconds in workers[name].ask("acknowledged", topic, count)]
    return took


def measure_many(workers, kafka, rounds, count, partitions):
    """Events a second. Each client has a topic of its own, whose records are counted in the end."""
    rates = {name: [] for name in workers}
    topics = {name: kafka.topic("many", partitions) for name in workers}
    for name, worker in workers.items():
        worker.ask("many", topics[name], WARM)
    for name in turns(workers, rounds):
        rates[name].append(count / workers[name].ask("many", topics[name], count))
    for name, topic in topics.items():
        found, published = len(kafka.read(topic)), WARM + rounds * count
        if found != published:
            raise SystemExit("{} published {} events, and {} are in its topic".format(name, published, found))
    return rates


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def row(what, ours, confluent, kafka_python, unit, digits=2):
    """A line of the table: the figures, and how ours stands to each (above 1 is in our favour)."""
    if unit == "events/s":
        shares = (ours / confluent, ours / kafka_python)
    else:
        shares = (confluent / ours, kafka_python / ours)
    figures = ["{:,.{}f}".format(value, digits) for value in (ours, confluent, kafka_python)]
    return [what, unit, *figures, *("{:.2f}".format(share) for share in shares)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imports", type=int, default=15, help="interpreters started for each import")
    parser.add_argument("--first", type=int, default=10, help="processes started for the first publish")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of acknowledged publishes")
    parser.add_argument("--acknowledged", type=int, default=400, help="acknowledged publishes a round")
    parser.add_argument("--many-rounds", type=int, default=7, help="rounds of publish_many")
    parser.add_argument("--many", type=int, default=30_000, help="events of one publish_many")
    options = parser.parse_args()

    from importlib.metadata import version

    import workflow_events

    import_times = measure_imports(options.imports)
    with Broker() as broker:
        first_times = measure_first(broker.bootstrap, broker.kafka.topic("first"), options.first)
        workers = {name: Worker(name, broker.bootstrap) for name in NAMES}
        try:
            acknowledged = measure_acknowledged(workers, broker.kafka, options.rounds, options.acknowledged)
            one = measure_many(workers, broker.kafka, options.many_rounds, options.many, 1)
            workers[MORE_IN_FLIGHT] = Worker(MORE_IN_FLIGHT, broker.bootstrap)
            twelve = measure_many(workers, broker.kafka, options.many_rounds, options.many, 12)
        finally:
            for worker in workers.values():
                worker.close()

    middle = {name: statistics.median(values) for name, values in import_times.items()}
    rows = [["", "unit", *NAMES, "to confluent", "to kafka-python"]]
    rows.append(row("import", middle[OURS], middle[CONFLUENT], middle[KAFKA_PYTHON], "ms"))
    with_models = middle["workflow-events, with its models"]
    rows.append(row("import, with our models", with_models, middle[CONFLUENT], middle[KAFKA_PYTHON], "ms"))
    firsts = [statistics.median(first_times[name]) for name in NAMES]
    rows.append(row("process start to first ack", *firsts, "ms", 1))
    for title, share in (("acknowledged publish, p50", 0.5), ("acknowledged publish, p99", 0.99)):
        rows.append(row(title, *(percentile(acknowledged[name], share) for name in NAMES), "ms", 3))
    for title, rates in (("publish_many, 1 partition", one), ("publish_many, 12 partitions", twelve)):
        rows.append(row(title, *(statistics.median(rates[name]) for name in NAMES), "events/s", 0))

    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    versions = ", ".join("{} {}".format(name, version(name)) for name in NAMES)
    print("{}; Python {}, {} CPUs".format(versions, platform.python_version(), os.cpu_count()))
    print("wheel: {}".format(Path(workflow_events.__file__).parent))
    for line in rows:
        print(
            "  ".join(
                cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(zip(line, widths))
            )
        )
    print(
        "publish_many, 12 partitions, {}: {:,.0f} events/s".format(
            MORE_IN_FLIGHT, statistics.median(twelve[MORE_IN_FLIGHT])
        )
    )
    print("Ratios above 1 are in favour of workflow-events. Spread (lowest to highest round):")
    for title, rates in (("1 partition", one), ("12 partitions", twelve)):
        spread = ("{} {:,.0f} to {:,.0f}".format(name, min(rates[name]), max(rates[name])) for name in rates)
        print("  publish_many, {}: {}".format(title, "; ".join(spread)))


if __name__ == "__main__":
    main()
