"""`python -m workflow_runner`: checks runner.yaml, runs one job, or starts the orchestrator.

Exit codes: 0 done; 64 usage; 69 the orchestrator is not installed, not ready, or has ended; 78 the configuration is
wrong; `run` has the code of the job.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import signal
import sys
from datetime import datetime, timezone
from typing import Any, NoReturn, Optional, Sequence

from . import event, log
from .config import RunnerConfig, job_of
from .dagster_jobs import check_names
from .errors import OrchestratorError, RunnerConfigError
from .job import run_job

USAGE, UNAVAILABLE, CONFIG = 64, 69, 78


class _Usage(Exception):
    """The arguments are wrong."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Usage(f"{self.format_usage()}{message}")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:6]) < 65_536:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, found {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m workflow_runner",
        description="Jobs on a schedule, from runner.yaml.",
        epilog=(__doc__ or "").split("\n\n", 1)[1],
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="report every mistake in runner.yaml and in all job files")
    run = commands.add_parser("run", help="run one job now, and exit with its code")
    run.add_argument("--schedule", required=True, metavar="NAME", help="whose job")
    run.add_argument("--run-id", metavar="ID", help="of the event; two runs with one id are one event")
    start = commands.add_parser("start", help="prepare the orchestrator, and run its services until SIGTERM")
    start.add_argument("mode", choices=["orchestrated"])
    start.add_argument("--prepare-only", action="store_true", help="for whoever runs the services")
    start.add_argument("--dags-folder", metavar="FOLDER", help="Airflow's, when it is not the configured one")
    start.add_argument("--host", default="127.0.0.1", help="where the web interface listens (127.0.0.1)")
    start.add_argument("--port", type=_port, default=8080, help="its port (8080)")
    for command in (check, run, start):
        command.add_argument("--runner-config", required=True, metavar="FILE", help="runner.yaml")
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs a command: its exit code."""
    try:
        options = _parser().parse_args(arguments)
        return {"check": _check, "run": _run, "start": _start}[options.command](options)
    except _Usage as error:
        print(error, file=sys.stderr)
        return USAGE
    except RunnerConfigError as error:
        print(error, file=sys.stderr)
        return CONFIG
    except OrchestratorError:  # It is in the log.
        return UNAVAILABLE


def _check(options: argparse.Namespace) -> int:
    config = RunnerConfig.from_yaml(options.runner_config)
    problems = []
    for schedule in config.orchestrator.schedules:
        try:
            job_of(schedule)
        except RunnerConfigError as error:
            problems += error.problems
    if config.orchestrator.type == "dagster":
        try:
            check_names(config)
        except RunnerConfigError as error:
            problems += error.problems
    if problems:
        raise RunnerConfigError(problems)
    count = len(config.orchestrator.schedules)
    print(f"{config.path}: {count} {'schedule' if count == 1 else 'schedules'}, no mistake")
    return 0


def _run(options: argparse.Namespace) -> int:
    config = RunnerConfig.from_yaml(options.runner_config)
    schedule = config.schedule(options.schedule)
    if schedule is None:
        names = [schedule.name for schedule in config.orchestrator.schedules]
        close = difflib.get_close_matches(options.schedule, names, n=1)
        hint = f": did you mean {close[0]}?" if close else f"; it has {', '.join(names[:20]) or 'none'}"
        raise _Usage(f"{config.path} has no schedule {options.schedule}{hint}")
    job = job_of(schedule)
    _take_any_text()
    log.log_to(sys.stderr)
    stop: list[int] = []

    def told(number: int, _: Any) -> None:
        stop.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    run_id = options.run_id or "manual__" + datetime.now(timezone.utc).isoformat()
    result = run_job(config, schedule, job, run_id, _pass_on, lambda: bool(stop))
    event.publish_result(schedule, job, result, event.RUNNER, run_id)
    return result.exit_code


def _start(options: argparse.Namespace) -> int:
    from .orchestrated import start_orchestrated

    _take_any_text()
    log.log_to(sys.stderr)
    start_orchestrated(
        RunnerConfig.from_yaml(options.runner_config),
        prepare_only=options.prepare_only,
        dags_folder=options.dags_folder,
        host=options.host,
        port=options.port,
        write=lambda line: _pass_on(False, line),
    )
    return 0


def _take_any_text() -> None:
    """A character that the encoding of a stream does not have is written as an escape, and ends no job."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _pass_on(is_error: bool, line: str) -> None:
    """A job's line to the stream that it was written to. One that nobody reads any more changes nothing."""
    stream = sys.stderr if is_error else sys.stdout
    try:
        print(line, file=stream, flush=True)
    except OSError:
        # The interpreter would report it again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
