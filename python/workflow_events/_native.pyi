# The native module: python/src. What an Outcome holds is said in its docstring.

from collections.abc import Sequence
from typing import Optional, TypedDict, final, type_check_only

__all__ = ["Many", "Outcome", "NativeError", "Publisher", "SettingsError", "__version__", "default_spool_folder"]

__version__: str

def default_spool_folder(
    state: Optional[str] = None, home: Optional[str] = None
) -> Optional[tuple[str, Optional[str]]]: ...

class NativeError(Exception):
    args: tuple[str, str]

class SettingsError(NativeError):
    args: tuple[list[tuple[str, str]]]  # type: ignore[assignment]

@type_check_only
class Drained(TypedDict):
    published: int
    put_back: int
    quarantined: int
    left: int
    left_alone: int
    error: Optional[str]
    note: Optional[str]
    elsewhere: int

@final
class Outcome:
    def __new__(
        cls,
        status: str,
        kind: str,
        event_id: str,
        message: str,
        *,
        partition: Optional[int] = None,
        offset: Optional[int] = None,
        path: Optional[str] = None,
        event: Optional[str] = None,
    ) -> Outcome: ...
    def __getnewargs_ex__(self) -> tuple[tuple[str, str, str, str], dict[str, object]]: ...
    @property
    def status(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def event_id(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def published(self) -> bool: ...
    @property
    def partition(self) -> Optional[int]: ...
    @property
    def offset(self) -> Optional[int]: ...
    @property
    def path(self) -> Optional[str]: ...
    @property
    def event(self) -> Optional[str]: ...

@final
class Publisher:
    def __new__(
        cls,
        *,
        bootstrap_servers: str,
        topic: str,
        client_id: str,
        acks: str,
        retries: int,
        max_in_flight_requests_per_connection: int,
        request_timeout_ms: int,
        delivery_timeout_ms: int,
        linger_ms: Optional[int] = None,
        batch_size: Optional[int] = None,
        compression_type: Optional[str] = None,
        security_protocol: Optional[str] = None,
        sasl_mechanism: Optional[str] = None,
        sasl_username: Optional[str] = None,
        sasl_password: Optional[str] = None,
        ssl_cafile: Optional[str] = None,
        ssl_certfile: Optional[str] = None,
        ssl_keyfile: Optional[str] = None,
        properties: dict[str, str] = ...,
        spool_dir: Optional[str] = None,
        spool_max_bytes: Optional[int] = None,
    ) -> Publisher: ...
    def connect(self, timeout: float) -> None: ...
    def publish(
        self,
        event: bytes,
        told: list[Outcome],
        topic: Optional[str] = None,
        deadline: float = 10.0,
        traceparent: Optional[str] = None,
    ) -> None: ...
    def many(self, topic: Optional[str] = None, deadline: float = 10.0) -> Many: ...
    def enqueue(
        self,
        event: bytes,
        told: list[Outcome],
        topic: Optional[str] = None,
        traceparent: Optional[str] = None,
    ) -> None: ...
    def flush(self, timeout: Optional[float] = None) -> tuple[int, str]: ...
    def close(self, timeout: float, told: list[Outcome]) -> None: ...
    def take_failures(self, told: list[Outcome]) -> None: ...
    def drain(self, max_events: Optional[int] = None, timeout: Optional[float] = None) -> Drained: ...
    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def topic(self) -> str: ...

@final
class Many:
    @property
    def handed(self) -> int: ...
    def add(self, events: Sequence[bytes]) -> None: ...
    def finish(self, told: list[Outcome]) -> None: ...
