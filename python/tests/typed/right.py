"""The public API as a typed program uses it: `mypy --strict` has nothing to say about this file."""

import asyncio
import uuid
from datetime import datetime
from typing import Any, Dict, List, Optional, Tuple

from integration_events import (
    DomainEvent,
    EventMapper,
    IntegrationEvent,
    IntegrationEventHandler,
    KafkaConfig,
    KafkaIntegrationEventConsumer,
    KafkaIntegrationEventPublisher,
    Mediator,
    Reject,
    Request,
    RequestHandler,
    RetryLater,
    create_integration_event_mediator,
)
from workflow_events import (
    AsyncWorkflowEventProducer,
    EventSource,
    EventType,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    NoBrokersAvailable,
    Outcome,
    PublishSummary,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
    __version__,
)
from workflow_events.ids import derive

event = WorkflowEvent(
    event_type=EventType.WORKFLOW_COMPLETED,
    source=EventSource.AIRFLOW,
    workflow_id="example_dag",
    workflow_run_id="run_123",
    payload=WorkflowEventPayload(data={"status": "success"}),
    metadata=WorkflowEventMetadata(environment="dev"),
)
loose = WorkflowEvent(
    event_id=uuid.uuid4(),
    event_type="workflow.completed",
    timestamp=datetime.now(),
    source="AIRFLOW",
    workflow_id="example_dag",
    workflow_run_id="run_123",
    payload={"status": "success"},
    metadata={"environment": "dev", "scope": "dag"},
)
kind: EventType = loose.event_type
data: Dict[str, Any] = loose.payload.data
wire: Dict[str, Any] = event.model_dump()
text: str = event.model_dump_json() + event.event_id + event.key + __version__ + derive("a", 1)


def publish(producer: WorkflowEventProducer) -> Optional[int]:
    done: bool = producer.publish_event(event, topic="custom-topic", timeout=30)
    done = producer.publish_event({"event_id": "a"}) and producer.enqueue_event(event)
    outcome: Outcome = producer.publish_event_outcome(event, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    summary: PublishSummary = producer.publish_many([event, loose], timeout=None)
    both: List[Outcome] = summary.outcomes
    try:
        producer.flush(timeout=5.0)
    except KafkaTimeoutError as error:
        print(error.kind)
    producer.close()
    return outcome.offset if done else summary.published + summary.spooled + summary.failed + len(both)


def connect() -> WorkflowEventProducer:
    try:
        return WorkflowEventProducer(bootstrap_servers=["a:9092", "b:9092"], acks=1, spool_dir=False)
    except (KafkaConfigurationError, NoBrokersAvailable, KafkaError):
        with WorkflowEventProducer(connect_timeout=None) as producer:
            return producer


async def asynchronous() -> bool:
    async with AsyncWorkflowEventProducer(connect_timeout=None) as producer:
        outcome: Outcome = await producer.publish_event_outcome(event)
        summary: PublishSummary = await producer.publish_many([event])
        await producer.flush(1.0)
        task: asyncio.Task[bool] = asyncio.create_task(producer.publish_event(event))
        both: Tuple[bool, bool] = await asyncio.gather(task, producer.enqueue_event(event))
        print(both)
        return outcome.published and summary.failed == 0 and await producer.publish_event(event)


class UserCreated(IntegrationEvent):
    email: str


class Created(DomainEvent):
    email: str


class Create(Request[int]):
    pass


class Creates(RequestHandler[Create, int]):
    async def handle(self, request: Create) -> int:
        return 7


class SendWelcome(IntegrationEventHandler):
    async def handle(self, event: UserCreated) -> None:
        raise Reject("no address") if not event.email else RetryLater(5, "the mail server is away")


def completed(event: WorkflowEvent) -> None:
    print(event.workflow_id)


async def consume() -> bool:
    consumer = KafkaIntegrationEventConsumer(KafkaConfig(consumer_group_id="emails", handler_timeout=30))
    consumer.register_handler(UserCreated, SendWelcome(), name="send-welcome")
    consumer.register_handler_function(EventType.WORKFLOW_COMPLETED, completed)
    await consumer.start(["integration-events.user_created"])
    await consumer.stop(timeout=5)
    async with consumer:
        await consumer.wait_closed()
    return consumer.is_started


def transform(domain_event: Created) -> Dict[str, Any]:
    return {"email": domain_event.email}


async def integration() -> int:
    config = KafkaConfig(service_name="users", producer_acks=1, spool_dir=False, connect_timeout=None)
    mapper = EventMapper()
    mapper.register_mapping(Created, UserCreated, transform=transform)
    mapped: Optional[IntegrationEvent] = mapper.map(Created(email="a"))
    read: UserCreated = UserCreated.from_dict(UserCreated(email="a", aggregate_id=uuid.uuid4()).to_dict())
    async with KafkaIntegrationEventPublisher(config) as publisher:
        outcome: Outcome = await publisher.publish(read)
        summary: PublishSummary = await publisher.publish_many([read] if mapped is None else [read, mapped])
        base = Mediator()
        base.register_handler(Create, Creates())
        print(await create_integration_event_mediator(base, publisher, mapper).send(Create()), config.sasl_password)
    return summary.published + (outcome.offset or 0)


if __name__ == "__main__":
    publish(connect())
    asyncio.run(asynchronous())
    asyncio.run(consume())
