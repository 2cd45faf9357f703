"""Whether a failed job is started again, and after how long: decided in Rust (src/runner/retry.rs)."""

from __future__ import annotations

from typing import Optional

from workflow_events import _native

from .config import RetryConfig
from .errors import RunnerConfigError


class RetryPolicy:
    """Decides on retries. ``None``: there is none.

    Raises RunnerConfigError for a configuration that is none.
    """

    def __init__(self, config: Optional[RetryConfig] = None) -> None:
        config = RetryConfig(max_retries=0) if config is None else config
        self.config = config
        try:
            self._native = _native.RetryPolicy(
                config.max_retries,
                config.initial_delay_seconds,
                config.backoff_multiplier,
                config.max_delay_seconds,
                list(config.retryable_exit_codes),
                list(config.retryable_error_patterns),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise RunnerConfigError([f"retry_config: {error}"]) from None

    def should_retry(self, exit_code: int, error_message: Optional[str] = None, attempt: int = 0) -> bool:
        """Whether another attempt follows retry number `attempt` (0: the first attempt) that ended with this code.

        error_message: the end of its error output, for the patterns.
        """
        return self._native.should_retry(exit_code, error_message or "", attempt)

    def calculate_delay(self, attempt: int) -> float:
        """Seconds before retry `attempt`, from 0: ``min(initial * multiplier**attempt, max)``."""
        return self._native.delay(attempt)
