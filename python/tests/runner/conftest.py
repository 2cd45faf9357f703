"""A runner.yaml with jobs of any shell script, for the tests of the runner."""

import json
from pathlib import Path
from typing import Any, Dict, Optional

import pytest


class Jobs:
    """A folder with a runner.yaml: each job runs the script of its own file by ``sh``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "runner.yaml"
        self.kind = "airflow"
        self.concurrency = 1
        self.schedules: Dict[str, Dict[str, Any]] = {}

    def add(self, name: str, script: str, job: Optional[Dict[str, Any]] = None, **schedule: Any) -> None:
        """A schedule and its job; its tenant is acme unless ``job`` says otherwise."""
        (self.folder / f"{name}.sh").write_text(script)
        content = {"tenant_id": "acme", "source_connector": "stripe", **(job or {})}
        (self.folder / f"{name}.yaml").write_text(json.dumps(content))
        timing = {} if "cron" in schedule else {"interval_seconds": 3600}
        self.schedules[name] = {"name": name, "config": f"{name}.yaml", **timing, **schedule}
        self.write()

    def write(self) -> None:
        runner = {
            "command": ["/bin/sh", str(self.folder / "{name}.sh"), "{config}", "{tenant}"],
            "orchestrator": {
                "type": self.kind,
                "concurrency_per_tenant": self.concurrency,
                "schedules": list(self.schedules.values()),
            },
        }
        # JSON is YAML.
        self.path.write_text(json.dumps({"runner": runner}))


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    folder = tmp_path / "jobs"
    folder.mkdir()
    return Jobs(folder)
