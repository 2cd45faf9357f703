"""A bridge reads what the publisher writes, and runs an agent for each event, once."""

import asyncio
from typing import Dict

from integration_events import IntegrationEvent, KafkaConfig, KafkaIntegrationEventPublisher
from kit.bridge import Bridge, HttpAgent
from kit.poll import poll
from kit.reader import Kafka

_ROUTING = """
event_types: [UserCreatedIntegrationEvent]
agents:
  keeper: {{http: {{url: "{url}/events"}}, timeout: 60s}}
rules:
  - name: new-users
    when:
      event_type: [UserCreatedIntegrationEvent]
      source: [user-service]
      payload: {{data: {{email: [{{suffix: "@example.com"}}]}}}}
    to: [keeper]
"""


class UserCreatedIntegrationEvent(IntegrationEvent):
    email: str
    topic: str

    def get_topic_name(self) -> str:
        return self.topic


def test_events_of_the_publisher_reach_the_agent_of_their_rule_once(kafka: Kafka, topic: str) -> None:
    wanted = UserCreatedIntegrationEvent(
        email="a@example.com", topic=topic, aggregate_id=7, aggregate_type="user", correlation_id="c"
    )
    other = UserCreatedIntegrationEvent(email="b@example.org", topic=topic)
    config = KafkaConfig(
        bootstrap_servers=kafka.bootstrap, service_name="user-service", connect_timeout=60.0, publish_timeout=60.0
    )

    async def publish() -> None:
        async with KafkaIntegrationEventPublisher(config) as publisher:
            await publisher.publish_many([wanted, other, wanted])

    asyncio.run(publish())
    agent = HttpAgent()
    try:
        with Bridge(kafka, topic, routing=_ROUTING.format(url=agent.url)) as bridge:

            def outcomes() -> Dict[str, float]:
                names = ("delivered", "duplicate", "unmatched", "dead_lettered")
                return {name: bridge.metric("workflow_bridge_events_total", f'outcome="{name}"') for name in names}

            expected = {"delivered": 1.0, "duplicate": 1.0, "unmatched": 1.0, "dead_lettered": 0.0}
            poll(120.0, "every event has its outcome", outcomes, lambda seen: seen == expected)
    finally:
        agent.close()
    (event,) = agent.received
    assert event["event_id"] == str(wanted.event_id)
    assert (event["source"], event["workflow_id"], event["workflow_run_id"]) == ("user-service", "user", "7")
    assert event["metadata"] == {"event_version": "1.0", "correlation_id": "c"}
    assert event["payload"]["data"] == {**wanted.to_dict()["payload"], "source_service": "user-service"}
