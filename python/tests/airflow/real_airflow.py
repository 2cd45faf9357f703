"""A real Airflow with a home, a database and a DAG folder of its own, driven as an operator drives it.

Its invariant: nothing it starts outlives the tests; whatever Airflow forks is found by the home in its environment and
ended by its pid. It knows Airflow's command line and nothing of its Python API.
"""

import os
import shutil
import signal
import sqlite3
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

from kit.poll import poll
from kit.process import ROOT, Process, Scratch, free_port, prepared
from kit.programs import PATIENT

HERE = Path(__file__).resolve().parent
EXAMPLES = ROOT / "examples" / "airflow" / "dags"
DATE = "2025-01-01"
"""Of ``dags test``."""
TRIGGERED = "2025-01-02"
"""Of runs that are triggered with a date: a DAG has one run of a date."""

PREFIXES = ("KAFKA_", "WORKFLOW_EVENTS_", "AIRFLOW_", "PYTHON", "VIRTUAL_ENV")
NAMES = ("ENVIRONMENT", "EVENT_SCHEMA_VERSION", "XDG_STATE_HOME")


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    status: int
    text: str
    seconds: float


class Airflow:
    """One Airflow: ``version`` is 2 (2.8.4) or 3 (3.3.2). It has the examples and the DAGs of the tests, or none."""

    def __init__(self, version: int, samples: bool = True) -> None:
        self.version = version
        self.bin = prepared(f"airflow-{version}-venv/bin")
        assert (self.bin / "airflow").is_file(), f"Airflow is not in {self.bin}: run `make airflow-venvs`"
        self._scratch = Scratch(f"airflow-{version}")
        self.folder = self._scratch.path
        self.home = self.folder / "home"
        self.dags = self.folder / "dags"
        self.dags.mkdir()
        for source in (*EXAMPLES.glob("*.py"), *(HERE / "dags").glob("*.py")) if samples else ():
            shutil.copy(str(source), str(self.dags))
        # Python imports it at its start, where it is on the path.
        self._patient = self.folder / "patient"
        self._patient.mkdir()
        (self._patient / "sitecustomize.py").write_text("import patient\n\npatient.install()\n")
        self.port = free_port()
        self.run("db", "migrate")

    def env(self, **more: str) -> Dict[str, str]:
        """The environment of a process of this Airflow: nothing of ours but what is passed."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(PREFIXES) and name not in NAMES
        }
        clean.update(
            AIRFLOW_HOME=str(self.home),
            # A process that sets its title would overwrite the environment that it is found by in the end.
            SPT_NOENV="1",
            # How long a process waits for another's lock of the database: 5 s by default, which a slow disk exceeds.
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{self.home / 'airflow.db'}?timeout=60",
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__DAGS_FOLDER=str(self.dags),
            AIRFLOW__CORE__UNIT_TEST_MODE="False",
            AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1",
            AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL="300",
            # What else a machine that stands still for a while would exceed: a scheduler that takes itself for dead, or
            # a DAG for gone.
            AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD="600",
            PATH="{}{}{}".format(self.bin, os.pathsep, clean.get("PATH", "")),
            PYTHONUNBUFFERED="1",
            PYTHONDONTWRITEBYTECODE="1",
            NO_COLOR="1",
            TEST_FOLDER=str(self.folder),
        )
        if self.version == 2:
            clean.update(
                # A task's process that still publishes when its success is in the database (the listener, a callback)
                # is ended at the second heartbeat after that: 5 s each by default.
                AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC="60",
                AIRFLOW__SCHEDULER__STALE_DAG_THRESHOLD="600",
                AIRFLOW__CORE__DAG_FILE_PROCESSOR_TIMEOUT="600",
                AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT="300",
            )
        if self.version == 3:
            url = f"http://127.0.0.1:{self.port}"
            clean.update(
                AIRFLOW__API__HOST="127.0.0.1",
                AIRFLOW__API__PORT=str(self.port),
                AIRFLOW__API__WORKERS="1",
                AIRFLOW__API__BASE_URL=url,
                AIRFLOW__CORE__EXECUTION_API_SERVER_URL=url + "/execution/",
                AIRFLOW__API_AUTH__JWT_SECRET="a-secret-of-the-tests-and-of-nobody-else",
                AIRFLOW__CORE__PARALLELISM="2",
                AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT="300",
                # As the heartbeat of version 2: what a task's process has left after its success.
                AIRFLOW__CORE__TASK_SUCCESS_OVERTIME="120",
                AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT="60",
                AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS="20",
                AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT="600",
                AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD="600",
                AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES="1",
                AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="300",
            )
        clean.update(more)
        return clean

    def run(self, *arguments: str, within: float = 600, check: bool = True, **env: str) -> Ended:
        """Runs ``airflow`` with these arguments to its end."""
        what, command = "airflow " + " ".join(arguments), [str(self.bin / "airflow"), *arguments]
        if not check or arguments[:2] in (("dags", "test"), ("tasks", "run")):  # These publish, and are run once.
            return self._end(what, command, within, check, env)
        for _ in range(4):
            ended = self._end(what, command, within, False, env)
            # A limit of SQLite, not of ours: where waiting could not help, another's lock is an error at once, however
            # long the time-out is.
            if ended.status == 0 or "database is locked" not in ended.text:
                break
        assert ended.status == 0, f"{what} ended with {ended.status}:\n{ended.text[-6000:]}"
        return ended

    def python(self, *arguments: str, within: float = 180, **env: str) -> Ended:
        """Runs this Airflow's own Python to its end."""
        return self._end("python " + " ".join(arguments), [str(self.bin / "python"), *arguments], within, True, env)

    def patience(self) -> Dict[str, str]:
        """The environment of a process whose producers have the patience of programs/patient.py."""
        return {"PYTHONPATH": os.pathsep.join([str(self._patient), str(PATIENT.parent)])}

    def dags_test(self, dag_id: str, patient: bool = True, check: bool = True, **env: str) -> Ended:
        """``airflow dags test``: the whole run, in one process. Patient with its broker, which is to be there."""
        return self.run("dags", "test", dag_id, DATE, check=check, **(self.patience() if patient else {}), **env)

    def trigger(self, dag_id: str, run_id: str, date: str = TRIGGERED) -> None:
        """Makes a run. On Airflow 3 with a date: ``airflow tasks clear`` finds no run that has none."""
        dated = ("-l", date) if self.version == 3 else ()
        self.run("dags", "trigger", "-r", run_id, *dated, dag_id)

    def tasks_run(self, dag_id: str, task_id: str, run_id: str, patient: bool = True, **env: str) -> Ended:
        """``airflow tasks run --local`` of Airflow 2: the task in a fork, left by ``os._exit``. As patient."""
        flags = ("--local", "--ignore-all-dependencies", "--force")
        return self.run("tasks", "run", dag_id, task_id, run_id, *flags, **(self.patience() if patient else {}), **env)

    def state(self, table: str, **where: str) -> str:
        """The ``state`` of a row of Airflow's database, read without asking Airflow, which takes seconds to answer."""
        # Not read-only: a reader that comes upon the journal of a process that was killed has to put it right first.
        database = sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=rw", uri=True, timeout=60)
        try:
            names = " and ".join(f"{name} = ?" for name in where)
            rows = database.execute(f"select state from {table} where {names}", list(where.values())).fetchall()
        finally:
            database.close()
        return ",".join(str(row[0]) for row in rows)

    @contextmanager
    def scheduler(self, **env: str) -> Iterator[Dict[str, Process]]:
        """The scheduler and what it needs beside it (from 3 on: an API server and a DAG processor)."""
        names = {2: ["scheduler"], 3: ["api-server", "dag-processor", "scheduler"]}[self.version]
        started: Dict[str, Process] = {}
        try:
            for name in names:
                # A task that starts before the API server listens is a failed attempt.
                started[name] = self._service(name, env)
                if name == "api-server":
                    poll(300, "the API server answers", self._api_answers, every=0.2)
            yield started
        finally:
            for process in reversed(list(started.values())):
                process.signal(signal.SIGTERM)
            ends = time.monotonic() + 60
            while time.monotonic() < ends and any(process.status() is None for process in started.values()):
                time.sleep(0.1)
            for process in started.values():
                process.kill()
            self._end_children()

    def replace_scheduler(self, processes: Dict[str, Process], **env: str) -> None:
        """SIGKILL for the scheduler, and another one, for which an hour has passed since."""
        processes["scheduler"].kill()
        database = sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=rw", uri=True, timeout=60)
        try:
            with database:
                database.execute(
                    "update job set latest_heartbeat = datetime(latest_heartbeat, '-1 hour') "
                    "where job_type = 'SchedulerJob' and state = 'running'"
                )
        finally:
            database.close()
        processes["scheduler"] = self._service("scheduler", env)

    def _service(self, name: str, env: Dict[str, str]) -> Process:
        log = self.folder / f"{name}.log"
        return Process("airflow " + name, [str(self.bin / "airflow"), name], log, self.folder, self.env(**env))

    def _api_answers(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v2/version", timeout=30) as answer:
            return bool(answer.status == 200)

    def close(self) -> None:
        self._end_children()
        self._scratch.remove()

    def _end(self, what: str, command: List[str], within: float, check: bool, env: Dict[str, str]) -> Ended:
        log = self.folder / "command.log"
        began = time.monotonic()
        process = Process(what, command, log, self.folder, self.env(**env))
        try:
            status = process.wait(within)
        finally:
            process.kill()
        ended = Ended(status, "\n".join(process.lines()), time.monotonic() - began)
        assert not check or status == 0, f"{what} ended with {status}:\n{ended.text[-6000:]}"
        return ended

    def _end_children(self) -> None:
        marker = f"AIRFLOW_HOME={self.home}".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                if marker in environment.read_bytes().split(b"\0"):
                    os.kill(int(environment.parent.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue


def seen(airflow: Airflow, name: str) -> List[str]:
    """The lines of a file that the test DAGs write into the tests' folder."""
    path = airflow.folder / name
    return path.read_text().splitlines() if path.is_file() else []


def wait_for(
    within: float,
    what: str,
    look: Callable[[], Any],
    processes: Dict[str, Process],
    until: Callable[[Any], Any] = bool,
) -> None:
    """``poll`` that ends at once when one of these processes does, and in any case with their logs."""

    def look_at_both() -> Tuple[List[str], Any]:
        ended = [process.what for process in processes.values() if process.status() is not None]
        return ended, None if ended else look()

    try:
        ended, _ = poll(within, what, look_at_both, lambda seen: seen[0] or until(seen[1]), every=0.5)
        assert not ended, "{} ended while this was waited for: {}".format(", ".join(ended), what)
    except AssertionError as error:
        logs = "\n".join(f"--- {one.what}\n{one.tail(80)}" for one in processes.values())
        raise AssertionError(f"{error}\n{logs}") from None
