"""Imported by the files beside it: what runs their tasks and callbacks has an environment of its own, as on a host of
its own. A scheduler imports none of them, and keeps the environment that it was started with."""

import json
import os

os.environ.update(json.loads(os.environ.get("TEST_TASKS_ENVIRONMENT", "{}")))
