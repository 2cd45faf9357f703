"""The application's lifespan with a publisher and a consumer, and the publisher as a dependency."""

from contextlib import asynccontextmanager
from typing import Annotated, AsyncIterator

from building_blocks.domain.events import IntegrationEvent
from building_blocks.infrastructure.messaging import (
    KafkaConfig,
    KafkaIntegrationEventConsumer,
    KafkaIntegrationEventPublisher,
)
from fastapi import Depends, FastAPI, Request

config = KafkaConfig()
topics = ["integration-events.user_created"]


class UserCreatedIntegrationEvent(IntegrationEvent):
    email: str


async def handle_user_created(event: UserCreatedIntegrationEvent) -> None:
    print(f"User created: {event.email}")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Startup
    publisher = KafkaIntegrationEventPublisher(config)
    await publisher.start()

    consumer = KafkaIntegrationEventConsumer(config)
    # Register handlers...
    consumer.register_handler_function(UserCreatedIntegrationEvent, handle_user_created)
    await consumer.start(topics)

    app.state.publisher = publisher
    app.state.consumer = consumer

    yield

    # Shutdown: in this order nothing is lost, but a handler that publishes meanwhile fails, and its event comes again.
    await publisher.stop()
    await consumer.stop()


app = FastAPI(lifespan=lifespan)


def get_event_publisher(request: Request) -> KafkaIntegrationEventPublisher:
    return request.app.state.publisher


PublisherDep = Annotated[KafkaIntegrationEventPublisher, Depends(get_event_publisher)]


@app.post("/users")
async def create_user(email: str, publisher: PublisherDep) -> None:
    # Use publisher...
    event = UserCreatedIntegrationEvent(email=email)
    await publisher.publish(event)
