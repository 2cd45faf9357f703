"""Map domain events, wrap the mediator, return events from handlers."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import List
from uuid import UUID, uuid4

from building_blocks.application.mediator import Mediator, Request, RequestHandler
from building_blocks.domain.events import DomainEvent, IntegrationEvent
from building_blocks.infrastructure.messaging import (
    EventMapper,
    KafkaConfig,
    KafkaIntegrationEventPublisher,
    create_integration_event_mediator,
)


class UserCreatedDomainEvent(DomainEvent):
    user_id: UUID
    email: str
    full_name: str


class UserUpdatedDomainEvent(DomainEvent):
    new_email: str
    changed_fields: List[str]


class UserCreatedIntegrationEvent(IntegrationEvent):
    user_id: UUID
    email: str
    full_name: str
    created_at: datetime


class UserUpdatedIntegrationEvent(IntegrationEvent):
    user_id: int
    email: str
    updated_fields: List[str]


mapper = EventMapper()

# Simple 1-to-1 mapping
mapper.register_mapping(UserCreatedDomainEvent, UserCreatedIntegrationEvent)


# Custom transformation
def transform_user_updated(domain_event: UserUpdatedDomainEvent) -> dict:
    return {
        "user_id": domain_event.aggregate_id,
        "email": domain_event.new_email,
        "updated_fields": domain_event.changed_fields,
    }


mapper.register_mapping(UserUpdatedDomainEvent, UserUpdatedIntegrationEvent, transform=transform_user_updated)


@dataclass
class User:
    id: UUID
    email: str
    full_name: str
    domain_events: List[DomainEvent] = field(default_factory=list)

    @classmethod
    def create(cls, email: str, full_name: str) -> "User":
        user = cls(uuid4(), email, full_name)
        user.domain_events = [
            UserCreatedDomainEvent(user_id=user.id, email=email, full_name=full_name),
            UserUpdatedDomainEvent(aggregate_id=7, new_email=email, changed_fields=["email"]),
        ]
        return user


class Repository:
    async def save(self, user: User) -> None:
        """As if it were in a database."""


@dataclass
class CreateUserResult:
    user_id: UUID
    domain_events: List[DomainEvent]
    integration_events: List[IntegrationEvent]  # Optional


@dataclass
class CreateUserCommand(Request[CreateUserResult]):
    email: str
    full_name: str


class CreateUserHandler(RequestHandler[CreateUserCommand, CreateUserResult]):
    repository = Repository()

    async def handle(self, command: CreateUserCommand) -> CreateUserResult:
        # Create user
        user = User.create(command.email, command.full_name)

        # Save to database
        await self.repository.save(user)

        # Return result with events
        return CreateUserResult(
            user_id=user.id,
            domain_events=user.domain_events,  # Will be auto-mapped
            # Or explicitly add integration events:
            integration_events=[
                UserCreatedIntegrationEvent(
                    user_id=user.id,
                    email=user.email,
                    full_name=user.full_name,
                    # Was missing, and the class requires it.
                    created_at=datetime.now(timezone.utc),
                    # Was missing: without it the user is created twice, once by the mapping.
                    causation_id=user.domain_events[0].event_id,
                )
            ],
        )


async def main() -> None:
    async with KafkaIntegrationEventPublisher(KafkaConfig()) as publisher:
        # Create base mediator
        base_mediator = Mediator()
        base_mediator.register_handler(CreateUserCommand, CreateUserHandler())

        # Wrap with integration event publishing
        mediator = create_integration_event_mediator(base_mediator, publisher, mapper)

        # Now when you send commands, integration events are automatically published
        result = await mediator.send(CreateUserCommand(email="ada@example.com", full_name="Ada Lovelace"))
        assert isinstance(result, CreateUserResult)


asyncio.run(main())
