"""The application's lifespan, and the publisher as a dependency."""

from contextlib import asynccontextmanager
from typing import Annotated, AsyncIterator

from building_blocks.domain.events import IntegrationEvent
from building_blocks.infrastructure.messaging import KafkaConfig, KafkaIntegrationEventPublisher
from fastapi import Depends, FastAPI, Request

config = KafkaConfig()


class UserCreatedIntegrationEvent(IntegrationEvent):
    email: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Startup
    publisher = KafkaIntegrationEventPublisher(config)
    await publisher.start()

    app.state.publisher = publisher

    yield

    # Shutdown
    await publisher.stop()


app = FastAPI(lifespan=lifespan)


def get_event_publisher(request: Request) -> KafkaIntegrationEventPublisher:
    return request.app.state.publisher


PublisherDep = Annotated[KafkaIntegrationEventPublisher, Depends(get_event_publisher)]


@app.post("/users")
async def create_user(email: str, publisher: PublisherDep) -> None:
    # Use publisher...
    event = UserCreatedIntegrationEvent(email=email)
    await publisher.publish(event)
