# The native module: python/src.

from collections.abc import Sequence
from typing import Literal, Optional, TypedDict, Union, final, type_check_only

__all__ = [
    "SETTINGS",
    "Call",
    "ConfigProblems",
    "Consumer",
    "JobNotStarted",
    "JobProcess",
    "NativeError",
    "Outcome",
    "PublishBatch",
    "Publisher",
    "RetryPolicy",
    "Setting",
    "SettingsError",
    "__version__",
    "default_spool_folder",
    "plain_json",
    "read_job",
    "read_runner",
]

__version__: str
SETTINGS: list[Setting]

def default_spool_folder(
    state: Optional[str] = None, home: Optional[str] = None
) -> Optional[tuple[str, Optional[str]]]: ...
def plain_json(value: object) -> Optional[bytes]: ...

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
class Setting:
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["text", "secret", "path", "number", "properties"]: ...
    @property
    def variable(self) -> Optional[str]: ...
    @property
    def default(self) -> Union[str, int, None]: ...
    @property
    def most(self) -> Optional[int]: ...
    @property
    def help(self) -> str: ...

@final
class Publisher:
    def __new__(cls, **settings: Union[str, int, dict[str, str]]) -> Publisher: ...
    def connect(self, timeout: float) -> None: ...
    def publish(
        self,
        event: bytes,
        outcomes: list[Outcome],
        topic: Optional[str] = None,
        deadline: float = 10.0,
        traceparent: Optional[str] = None,
        accepted: bool = False,
    ) -> None: ...
    def publish_records(
        self,
        records: Sequence[tuple[str, str, Optional[str], Sequence[tuple[str, str]], bytes]],
        outcomes: list[Outcome],
        deadline: float = 10.0,
        accepted: bool = False,
    ) -> None: ...
    def begin_batch(
        self, topic: Optional[str] = None, deadline: float = 10.0, accepted: bool = False
    ) -> PublishBatch: ...
    def enqueue(
        self,
        event: bytes,
        outcomes: list[Outcome],
        topic: Optional[str] = None,
        traceparent: Optional[str] = None,
        accepted: bool = False,
    ) -> None: ...
    def flush(self, timeout: Optional[float] = None) -> tuple[int, str]: ...
    def close(self, timeout: float, outcomes: list[Outcome]) -> None: ...
    def take_failures(self, outcomes: list[Outcome]) -> None: ...
    def drain(self, max_events: Optional[int] = None, timeout: Optional[float] = None) -> Drained: ...
    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def topic(self) -> str: ...

@final
class PublishBatch:
    @property
    def added(self) -> int: ...
    def add(self, events: Sequence[bytes]) -> None: ...
    def finish(self, outcomes: list[Outcome]) -> None: ...

class ConfigProblems(Exception):
    args: tuple[list[str]]

class JobNotStarted(Exception):
    args: tuple[int, str]

def read_runner(path: str, time_zones: list[str]) -> str: ...
def read_job(path: str) -> str: ...

@final
class RetryPolicy:
    def __new__(
        cls,
        max_retries: int,
        initial_delay_seconds: float,
        backoff_multiplier: float,
        max_delay_seconds: float,
        retryable_exit_codes: list[int],
        retryable_error_patterns: list[str],
    ) -> RetryPolicy: ...
    def should_retry(self, exit_code: int, error_message: str, attempt: int) -> bool: ...
    def delay(self, attempt: int) -> float: ...

@final
class JobProcess:
    def __new__(
        cls,
        command: list[str],
        variables: list[tuple[str, str]],
        working_directory: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> JobProcess: ...
    def wait(self, seconds: float) -> tuple[list[tuple[bool, str]], Optional[tuple[int, bool]]]: ...
    def terminate(self) -> None: ...
    def close(self, grace: float) -> None: ...
    def error_output(self) -> str: ...

@final
class Call:
    @property
    def token(self) -> int: ...
    @property
    def handler(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def event_id(self) -> str: ...
    @property
    def value(self) -> bytes: ...
    @property
    def key(self) -> Optional[bytes]: ...
    @property
    def traceparent(self) -> Optional[str]: ...
    @property
    def tracestate(self) -> Optional[str]: ...

@type_check_only
class HandlerOptions(TypedDict, total=False):
    concurrency: int
    max_retries: int
    backoff: float
    backoff_max: float
    timeout: Optional[float]  # from when a call is queued: it includes the wait for `take`
    give_up_after: float

@final
class Consumer:
    def __new__(
        cls,
        handlers: list[tuple[str, str, HandlerOptions]],
        **settings: Union[str, int, float, list[str], dict[str, str], None],
    ) -> Consumer: ...
    def start(self) -> int: ...
    def take(self, limit: int) -> tuple[list[Call], list[int], list[tuple[int, str]]]: ...
    def settle(self, token: int, verdict: str, text: str = "", seconds: float = 0.0) -> bool: ...
    def is_assigned(self) -> bool: ...
    def error(self) -> Optional[tuple[str, str]]: ...
    def stop(self, timeout: float) -> None: ...
    def has_ended(self) -> bool: ...
