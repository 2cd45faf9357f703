"""A real ``langgraph dev`` server with examples/langgraph-app, whose graphs count their own executions.

The server is that of ``make langgraph-venv``. Knows nothing of the bridge.
"""

import json
import os
import shutil
import urllib.request
from collections import Counter
from typing import Counter as CounterOf

from kit.poll import poll
from kit.process import ROOT, Process, Scratch, free_port, prepared

_VARIABLES = ("LANGSMITH_API_KEY", "VIRTUAL_ENV", "PYTHONPATH")


class LangGraph:
    """A fresh server: no threads, no runs, no executions."""

    def __init__(self) -> None:
        program = prepared("langgraph-venv/bin/langgraph")
        assert program.is_file(), f"the LangGraph server is not in {program}: run `make langgraph-venv`"
        self._scratch = Scratch("langgraph")
        folder = self._scratch.path
        shutil.copytree(str(ROOT / "examples" / "langgraph-app"), str(folder / "app"))
        self._executions = folder / "executions.jsonl"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
        environment.update(
            EXECUTIONS_FILE=str(self._executions),
            LANGGRAPH_CLI_NO_ANALYTICS="1",
            LANGGRAPH_NO_VERSION_CHECK="true",
            LANGSMITH_TRACING="false",
            LANGCHAIN_TRACING_V2="false",
        )
        command = [str(program), "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1"]
        command += ["--n-jobs-per-worker", "10", "--port", str(port)]
        self.process = Process("the LangGraph server", command, folder / "server.log", folder / "app", environment)
        try:
            poll(300, "the LangGraph server answers", self._answers, every=0.2)
        except BaseException:
            self.close()
            raise

    def executions(self) -> CounterOf[str]:
        """How often the graphs ran for each event."""
        text = self._executions.read_text() if self._executions.is_file() else ""
        return Counter(json.loads(line)["event_id"] for line in text.splitlines(keepends=True) if line.endswith("\n"))

    def busy(self) -> int:
        """How many of its threads have a run that is not over, one at most."""
        body = json.dumps({"status": "busy", "limit": 1}).encode()
        request = urllib.request.Request(f"{self.url}/threads/search", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return len(json.load(answer))

    def close(self) -> None:
        self.process.kill()
        self._scratch.remove()

    def _answers(self) -> bool:
        assert self.process.status() is None, self.process.tail()
        with urllib.request.urlopen(f"{self.url}/ok", timeout=30) as answer:
            return answer.status == 200
