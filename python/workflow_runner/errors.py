"""What the package raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class RunnerConfigError(ValueError):
    """runner.yaml or a job's file is wrong.

    problems: every mistake, as ``file:line:column: schedule NAME: what was expected and found``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)

    def __reduce__(self) -> tuple[Any, ...]:
        """It may be raised in one process and reported in another."""
        return type(self), (self.problems,)


class JobFailed(RuntimeError):
    """A job has failed in its last attempt, or was ended.

    exit_code: of the last attempt; 128 and its number for a signal, 124 for a time-out, 127 for a missing program.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        """It is raised in one process, and an executor may report it in another."""
        return type(self), (*self.args, self.exit_code)


class OrchestratorError(RuntimeError):
    """The orchestrator is not installed, or not ready."""


class Stopped(Exception):
    """A program was told to stop before it had ended."""
