"""The bridge as a process, and an HTTP agent that keeps what it is sent: they say whether an event is accepted.

The program is ``target/debug/workflow-bridge`` (``cargo build``). Knows only its command line, its log and HTTP.
"""

import json
import os
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List, Optional

from .poll import poll
from .process import ROOT, Process, Scratch
from .reader import Kafka

_ROUTING = """
agents:
  keeper: {{http: {{url: "{url}/events"}}, retry: {{initial: 50ms, max: 500ms}}}}
rules:
  - name: keep-everything
    when: {{event_type: [WORKFLOW_TRIGGERED, WORKFLOW_COMPLETED, WORKFLOW_FAILED]}}
    to: [keeper]
"""


class HttpAgent:
    """Answers 200 to every POST and keeps its body."""

    def __init__(self) -> None:
        agent = self
        self.received: List[Dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                agent.received.append(json.loads(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = "http://127.0.0.1:{}".format(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="http-agent", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Bridge:
    """A bridge that reads one topic and sends every workflow event to its agent, unless ``routing`` (YAML) says
    otherwise."""

    def __init__(
        self, kafka: Kafka, topic: str, environment: Optional[Dict[str, str]] = None, routing: Optional[str] = None
    ) -> None:
        program = ROOT / "target" / "debug" / "workflow-bridge"
        assert program.is_file(), "{} is not there: run `cargo build`".format(program)
        self.agent = HttpAgent()
        self._scratch = Scratch("bridge")
        folder = self._scratch.path
        (folder / "routing").mkdir()
        (folder / "routing" / "rules.yaml").write_text(routing or _ROUTING.format(url=self.agent.url))
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "BRIDGE_", "RUST_"))
        }
        kept.update({"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}, **(environment or {}))
        command = [str(program), "run", "--routing", "routing", "--data-dir", "data", "--topic", topic]
        command += ["--group", "bridge-of-{}".format(folder.name), "--admin", "127.0.0.1:0", "--log-format", "json"]
        self.process = Process("the bridge", command, folder / "bridge.log", folder, kept)
        try:
            line = json.loads(self.process.wait_line("admin listening", 180))
        except BaseException:
            self.close()
            raise
        self.admin = "http://{}".format(line.get("addr") or line["fields"]["addr"])

    def metric(self, name: str, label: str = "") -> float:
        """The sum of the samples of this name that bear this label (``outcome="delivered"``)."""
        with urllib.request.urlopen("{}/metrics".format(self.admin), timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        samples = [line for line in lines if line.startswith(name) and label in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in samples)

    def accepted(self, event_id: str, within: float = 120.0) -> Dict[str, Any]:
        """The event as the agent got it. Fails when it does not come, with the dead letters counted."""

        def look() -> Any:
            found = [event for event in list(self.agent.received) if event.get("event_id") == event_id]
            dead = self.metric("workflow_bridge_dead_letters_total")
            return {"found": found, "received": len(self.agent.received), "dead_letters": dead}

        seen = poll(within, "the agent has event {}".format(event_id), look, lambda seen: seen["found"], every=0.1)
        event = seen["found"][0]
        assert isinstance(event, dict)
        return event

    def close(self) -> None:
        self.process.kill()
        self.agent.close()
        self._scratch.remove()

    def __enter__(self) -> "Bridge":
        return self

    def __exit__(self, *_: Optional[object]) -> None:
        self.close()
