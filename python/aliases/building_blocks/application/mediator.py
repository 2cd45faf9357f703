"""Other names: see `building_blocks`."""

from integration_events import Mediator, Request, RequestHandler

__all__ = ["Mediator", "Request", "RequestHandler"]
