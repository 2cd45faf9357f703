"""The ledgers of consumers are in a folder of the test's own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def state_folder(environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the state of this test's consumers is, also over their restarts."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"
