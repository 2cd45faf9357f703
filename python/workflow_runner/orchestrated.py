"""Starts the orchestrator that runner.yaml names, and stays until it ends."""

from __future__ import annotations

import logging
from typing import Callable, Optional

from . import airflow_services, dagster_services
from .config import RunnerConfig
from .errors import OrchestratorError, RunnerConfigError, Stopped
from .log import log
from .services import until_signal


def start_orchestrated(
    config: RunnerConfig,
    *,
    prepare_only: bool = False,
    dags_folder: Optional[str] = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    write: Callable[[str], None] = print,
) -> None:
    """Prepares the orchestrator and runs its services in the foreground until SIGTERM or SIGINT.

    prepare_only: return once everything is prepared, for whoever runs the services.
    dags_folder: Airflow's, when it is not the configured one.
    host, port: where the web interface listens.
    write: takes the lines of the services.

    Raises RunnerConfigError for the mode oneshot, OrchestratorError when the orchestrator is not installed, not ready,
    or when one of its services has ended.
    """
    kind = config.orchestrator.type
    if kind == "dagster" and dags_folder is not None:
        problem = "`orchestrator.type` is dagster, and --dags-folder is of Airflow: leave it out"
        raise RunnerConfigError([f"{config.path}: {problem}"])
    if config.mode != "orchestrated":
        problem = "`runner.mode` is oneshot: its jobs are run one by one, with `python -m workflow_runner run`"
        raise RunnerConfigError([f"{config.path}: {problem}"])
    log(logging.INFO, "orchestrator_starting", f"{kind} is prepared", orchestrator=kind)
    try:
        with until_signal() as stopping:
            if kind == "dagster":
                dagster_services.start(config, stopping, write, prepare_only=prepare_only, host=host, port=port)
            else:
                airflow_services.start(
                    config, stopping, write, prepare_only=prepare_only, dags_folder=dags_folder, host=host, port=port
                )
    except Stopped:
        log(
            logging.INFO,
            "orchestrator_stopped",
            "it was told to stop before everything was prepared",
            orchestrator=kind,
        )
    except OrchestratorError as error:
        log(logging.ERROR, "orchestrator_error", str(error), orchestrator=kind)
        raise
