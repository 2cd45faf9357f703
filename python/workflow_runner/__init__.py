"""Scheduled jobs: runner.yaml becomes DAGs of Airflow or jobs of Dagster, and the end of each run a workflow event.

Owns the public names. Its invariant: importing the package imports no orchestrator, and nothing here ends the process.
docs/runner.md documents each name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import JobConfig, OrchestratorConfig, RetryConfig, RunnerConfig, ScheduleConfig
    from .dags import create_airflow_dags, create_task_function, get_dags_from_config
    from .dagster_jobs import create_dagster_definitions
    from .errors import JobFailed, OrchestratorError, RunnerConfigError
    from .orchestrated import start_orchestrated
    from .retry import RetryPolicy

# The module of each public name.
_MODULES = {
    "JobConfig": "config",
    "JobFailed": "errors",
    "OrchestratorConfig": "config",
    "OrchestratorError": "errors",
    "RetryConfig": "config",
    "RetryPolicy": "retry",
    "RunnerConfig": "config",
    "RunnerConfigError": "errors",
    "ScheduleConfig": "config",
    "create_airflow_dags": "dags",
    "create_dagster_definitions": "dagster_jobs",
    "create_task_function": "dags",
    "get_dags_from_config": "dags",
    "start_orchestrated": "orchestrated",
}

__all__ = [
    "JobConfig",
    "JobFailed",
    "OrchestratorConfig",
    "OrchestratorError",
    "RetryConfig",
    "RetryPolicy",
    "RunnerConfig",
    "RunnerConfigError",
    "ScheduleConfig",
    "create_airflow_dags",
    "create_dagster_definitions",
    "create_task_function",
    "get_dags_from_config",
    "start_orchestrated",
]


# Hidden from type checkers, which would accept any name because of it.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        module_name = _MODULES.get(name)
        if module_name is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # `from . import x` would call this function again.
        module = __import__(f"{__name__}.{module_name}", fromlist=(name,))
        value = getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
