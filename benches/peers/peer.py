"""What `make bench-peers` measures beside the bridge: programs that send the events of a topic to an HTTP agent.

Each is used as its documentation shows. Usage: peer.py NAME SERVERS TOPIC GROUP URL IN_FLIGHT; it runs until it is
ended.
"""

import asyncio
import json
import sys

import aiohttp

WANTED = "WORKFLOW_COMPLETED"


async def loop(servers, topic, group, url, in_flight):
    """aiokafka and aiohttp: a batch is sent at once, and committed when every request has been answered.

    Nothing is lost that Kafka holds. After a crash, a batch that was sent is sent again: nothing is remembered. One
    failure ends it, and one slow answer holds up its batch.
    """
    from aiokafka import AIOKafkaConsumer

    async def send(session, record):
        event = json.loads(record.value)
        if event["event_type"] != WANTED:
            return
        headers = {"content-type": "application/json", "idempotency-key": event["event_id"]}
        async with session.post(url, data=record.value, headers=headers) as response:
            response.raise_for_status()
            await response.read()

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:
        while True:
            batches = await consumer.getmany(timeout_ms=1000, max_records=in_flight)
            await asyncio.gather(*(send(session, record) for records in batches.values() for record in records))
            if batches:
                await consumer.commit()


async def kafka_agent_bridge(servers, topic, group, url, _in_flight):
    """kafka-agent-bridge with its default, a memory of ids that ends with the process; Redis would keep them.

    One event at a time, each committed. An id is remembered before its event is handled: with Redis, an event whose
    handling a crash cuts off is not handled again.
    """
    from kafka_agent_bridge import KafkaAgentBridge

    async with aiohttp.ClientSession() as session:

        async def send(event):
            if event.event_type != WANTED:
                return None
            headers = {"content-type": "application/json", "idempotency-key": event.event_id}
            async with session.post(url, data=event.model_dump_json(), headers=headers) as response:
                response.raise_for_status()
                return {"answer": await response.text()}

        bridge = KafkaAgentBridge(bootstrap_servers=servers, consumer_group=group)
        bridge.register(topic=topic, handler=send, adapter="http")
        await bridge.start()
        await asyncio.Event().wait()


PEERS = {"aiokafka-loop": loop, "kafka-agent-bridge": kafka_agent_bridge}

if __name__ == "__main__":
    name, *arguments, in_flight = sys.argv[1:]
    asyncio.run(PEERS[name](*arguments, int(in_flight)))
