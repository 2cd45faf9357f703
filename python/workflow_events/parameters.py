"""The parameters of both producers, as editors, type checkers and `help` see them.

Owns their names, order and types. What a setting is, its default, its range and its variable are declared in Rust
(`_native.SETTINGS`); a test compares the two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any, Literal, Optional, Union

    Path = Union[str, os.PathLike[str]]
    Servers = Union[str, list[str], tuple[str, ...]]


class ConfigurableProducer:
    """The constructor of a producer."""

    def __init__(
        self,
        bootstrap_servers: Optional[Servers] = None,
        acks: Union[str, int] = "all",
        retries: int = 3,
        max_in_flight_requests_per_connection: int = 1,
        request_timeout_ms: int = 30000,
        delivery_timeout_ms: int = 120000,
        *,
        connect_timeout: Optional[float] = 2.0,
        topic: Optional[str] = None,
        client_id: Optional[str] = None,
        compression_type: Optional[str] = None,
        linger_ms: Optional[int] = None,
        batch_size: Optional[int] = None,
        security_protocol: Optional[str] = None,
        sasl_mechanism: Optional[str] = None,
        sasl_username: Optional[str] = None,
        sasl_password: Optional[str] = None,
        ssl_cafile: Optional[Path] = None,
        ssl_certfile: Optional[Path] = None,
        ssl_keyfile: Optional[Path] = None,
        properties: Optional[dict[str, str]] = None,
        spool_dir: Union[Path, Literal[False], None] = None,
        spool_max_bytes: Optional[int] = None,
    ) -> None:
        arguments = dict(locals())  # The parameters, because nothing is assigned before.
        del arguments["self"]
        self._configure(**arguments)

    def _configure(self, *, connect_timeout: Optional[float], **settings: Any) -> None:
        raise NotImplementedError
