"""The e-mail service: it consumes, and tells others what it has done."""

from contextlib import asynccontextmanager
from typing import AsyncIterator
from uuid import NAMESPACE_URL, UUID, uuid5

from events import UserCreatedIntegrationEvent, WelcomeSentIntegrationEvent
from fastapi import FastAPI, Response
from integration_events import (
    IntegrationEventHandler,
    KafkaConfig,
    KafkaIntegrationEventConsumer,
    KafkaIntegrationEventPublisher,
    Reject,
)


class SendWelcome(IntegrationEventHandler):
    """Sends each new user one mail."""

    def __init__(self, publisher: KafkaIntegrationEventPublisher) -> None:
        self._publisher = publisher
        # In place of a mail server: mails by the event that they are for, so that an event that comes again sends none.
        self.sent: dict[UUID, str] = {}

    async def handle(self, event: UserCreatedIntegrationEvent) -> None:
        if "@" not in event.email:
            raise Reject(f"user {event.user_id} has no e-mail address")
        self.sent.setdefault(event.event_id, f"To: {event.email}\n\nWelcome, {event.full_name}!")
        # The same id each time: whoever handles this one is told once. It inherits the correlation.
        welcome_id = uuid5(NAMESPACE_URL, f"welcome/{event.event_id}")
        await self._publisher.publish(
            WelcomeSentIntegrationEvent(event_id=welcome_id, aggregate_id=event.user_id, user_id=event.user_id)
        )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    config = KafkaConfig(service_name="email-service", connect_timeout=None)
    async with KafkaIntegrationEventPublisher(config) as publisher:
        app.state.welcome = SendWelcome(publisher)
        consumer = KafkaIntegrationEventConsumer(config)
        consumer.register_handler(UserCreatedIntegrationEvent, app.state.welcome, name="send-welcome")
        # The consumer stops first: its handlers publish until then.
        async with consumer:
            app.state.consumer = consumer
            yield


app = FastAPI(lifespan=lifespan)


@app.get("/emails")
async def emails() -> list[str]:
    return list(app.state.welcome.sent.values())


@app.get("/health")
async def health(response: Response) -> dict:
    """A consumer that has ended by itself is a service to restart."""
    is_started = app.state.consumer.is_started
    response.status_code = 200 if is_started else 503
    return {"consuming": is_started}
