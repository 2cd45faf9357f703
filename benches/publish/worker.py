"""One client in one process.

`worker.py CLIENT SERVERS` takes commands on its standard input, one JSON object a line, and answers each with one.
`worker.py CLIENT SERVERS first TOPIC` publishes one event and prints when it was acknowledged.
"""

import json
import sys
import time

from clients import CLIENTS, events


def first(client, topic):
    client.publish(topic, events(1)[0])
    # The clock of the whole machine: the parent's counts from the same moment.
    print(time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)


def acknowledged(client, topic, count):
    """Seconds of each publish."""
    took = []
    for event in events(count):
        began = time.perf_counter()
        client.publish(topic, event)
        took.append(time.perf_counter() - began)
    return took


def many(client, topic, count):
    """Seconds of all, from dicts to the last acknowledgement."""
    prepared = events(count)
    began = time.perf_counter()
    client.publish_many(topic, prepared)
    return time.perf_counter() - began


def main():
    client = CLIENTS[sys.argv[1]](sys.argv[2])
    if sys.argv[3:4] == ["first"]:
        first(client, sys.argv[4])
        return
    work = {"acknowledged": acknowledged, "many": many}
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(work[command["do"]](client, command["topic"], command["count"])), flush=True)


main()
