"""Jobs of a runner.yaml that say when they run, and what became of their processes."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Set, Tuple

#: Appends a line when it begins and when it ends; `>>` of one line is one write. ``{}`` is how many seconds it takes.
#: Its run is in the file `begun` before the first line, and in `ended` before the second one.
BUSY = """
echo "$RUNNER_JOB_NAME works for $RUNNER_TENANT_ID"
echo "$RUNNER_JOB_NAME $RUNNER_RUN_ID" >> begun
echo "$RUNNER_JOB_NAME begin $(date +%s.%N)" >> journal
sleep {}
echo "$RUNNER_JOB_NAME $RUNNER_RUN_ID" >> ended
echo "$RUNNER_JOB_NAME end $(date +%s.%N)" >> journal
"""

#: Waits for ever in its first run, whose id and processes it writes down, and ends at once when it is started again.
ONCE = """
if [ -e $RUNNER_JOB_NAME.pids ]; then exit 0; fi
sleep 1000 & echo $RUNNER_RUN_ID $$ $! > $RUNNER_JOB_NAME.new
mv $RUNNER_JOB_NAME.new $RUNNER_JOB_NAME.pids
wait
"""

#: The name of a schedule: its tenant, the script of its job, and its further keys.
Schedules = Mapping[str, Tuple[str, str, Dict[str, Any]]]


def write_runner(folder: Path, kind: str, schedules: Schedules) -> Path:
    """A runner.yaml with a job for each schedule, which runs its script in that folder by ``sh``."""
    folder.mkdir()
    listed = []
    for name, (tenant, script, more) in schedules.items():
        (folder / f"{name}.sh").write_text(script)
        (folder / f"{name}.yaml").write_text(json.dumps({"tenant_id": tenant, "connector": "stripe"}))
        listed.append({"name": name, "config": f"{name}.yaml", **more})
    runner = {
        "command": ["/bin/sh", "{name}.sh"],
        "working_directory": ".",
        "orchestrator": {"type": kind, "concurrency_per_tenant": 1, "schedules": listed},
    }
    path = folder / "runner.yaml"
    path.write_text(json.dumps({"runner": runner}))  # JSON is YAML.
    return path


def read_journal(folder: Path) -> List[Tuple[str, str, float]]:
    """What the jobs have written: the schedule, ``begin`` or ``end``, and when."""
    path = folder / "journal"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, what, float(at)) for name, what, at in (line.split() for line in lines)]


def read_runs(folder: Path, file: str) -> Set[Tuple[str, str]]:
    """The runs in ``begun`` or ``ended``: the schedule and the id of the run."""
    lines = (folder / file).read_text().splitlines()
    return {(name, run) for name, run in (line.split() for line in lines)}


def spans(journal: List[Tuple[str, str, float]], *names: str) -> List[Tuple[float, float, str]]:
    """From when to when the jobs of these schedules have run. One that runs twice at once is an ``AssertionError``."""
    begun: Dict[str, float] = {}
    found = []
    for name, what, at in journal:
        if name not in names:
            continue
        if what == "begin":
            assert name not in begun, "{} runs twice at once: {}".format(name, journal)
            begun[name] = at
        else:
            found.append((begun.pop(name), at, name))
    return sorted(found)


def overlap(some: List[Tuple[float, float, str]], others: List[Tuple[float, float, str]]) -> bool:
    """Whether one of these ran while one of those did."""
    return any(
        begin < other_end and other_begin < end for begin, end, _ in some for other_begin, other_end, _ in others
    )


def parent(pid: int) -> int:
    """The process that has started this one."""
    return int(Path("/proc/{}/stat".format(pid)).read_text().rsplit(")", 1)[1].split()[1])


def lives(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        return Path("/proc/{}/stat".format(pid)).read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def processes_with(variable: str, value: Path) -> List[str]:
    """The processes that have this in their environment: their ids and commands."""
    marker = "{}={}".format(variable, value).encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker in path.read_bytes().split(b"\0"):
                found.append("{} {!r}".format(path.parent.name, (path.parent / "cmdline").read_bytes()[:200]))
        except OSError:
            continue
    return found
