"""What the user service tells others. Both services have this file, as a package of their own would be."""

from uuid import UUID

from integration_events import IntegrationEvent


class UserCreatedIntegrationEvent(IntegrationEvent):
    """Published when a user is created. `aggregate_id` is the user: events of one user stay in order."""

    user_id: UUID
    email: str
    full_name: str


class WelcomeSentIntegrationEvent(IntegrationEvent):
    """Published when a user has been welcomed."""

    user_id: UUID
