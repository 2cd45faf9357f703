"""The user service: it publishes."""

from contextlib import asynccontextmanager
from typing import Annotated, AsyncIterator
from uuid import uuid4

from events import UserCreatedIntegrationEvent
from fastapi import Depends, FastAPI, Request
from integration_events import KafkaConfig, KafkaIntegrationEventPublisher
from pydantic import BaseModel


class CreateUserRequest(BaseModel):
    email: str
    full_name: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Without a broker it starts too: events wait in the spool until there is one.
    config = KafkaConfig(service_name="user-service", connect_timeout=None)
    async with KafkaIntegrationEventPublisher(config) as publisher:
        app.state.publisher = publisher
        yield


app = FastAPI(lifespan=lifespan)


def publisher_of(request: Request) -> KafkaIntegrationEventPublisher:
    return request.app.state.publisher


@app.post("/users")
async def create_user(
    data: CreateUserRequest, publisher: Annotated[KafkaIntegrationEventPublisher, Depends(publisher_of)]
) -> dict:
    user_id = uuid4()
    # Commit to the database here. A crash between that and the publish would lose the event.
    event = UserCreatedIntegrationEvent(
        aggregate_id=user_id, aggregate_type="user", user_id=user_id, email=data.email, full_name=data.full_name
    )
    outcome = await publisher.publish(event)
    return {"user_id": user_id, "event_id": event.event_id, "status": outcome.status}
