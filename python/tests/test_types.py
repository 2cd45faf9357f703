"""The types, as mypy reads them from the installed package."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Set

import pytest
import workflow_events

TYPED = Path(__file__).parent / "typed"


def mypy(cache: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--no-pretty",
        "--python-version",
        "3.10",
    ]
    command += ["--cache-dir", str(cache), "--config-file", "", *arguments]
    return subprocess.run(command, cwd=TYPED, capture_output=True, text=True, timeout=900)


def test_a_program_that_uses_the_public_api_rightly_has_no_type_error(tmp_path: Path) -> None:
    ran = mypy(tmp_path, "right.py")
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_a_program_that_uses_it_wrongly_has_one_where_it_is_wrong(tmp_path: Path) -> None:
    lines = (TYPED / "wrong.py").read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    ran = mypy(tmp_path, "wrong.py")
    found: Set[int] = {int(number) for number in re.findall(r"^wrong\.py:(\d+): error", ran.stdout, re.MULTILINE)}
    assert found == expected, ran.stdout + ran.stderr


@pytest.mark.parametrize("package", ["workflow_events", "workflow_runner", "integration_events"])
def test_the_package_itself_has_no_type_error(package: str, tmp_path: Path) -> None:
    ran = mypy(tmp_path, "--package", package)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_the_stubs_of_the_native_module_have_what_it_has() -> None:
    from workflow_events import _native

    folder = Path(workflow_events.__file__).parent
    assert (folder / "py.typed").exists()
    stubs = (folder / "_native.pyi").read_text()
    own = (_native.Publisher, _native.Outcome, _native.PublishBatch, _native.Setting)
    for kind in (*own, _native.RetryPolicy, _native.JobProcess, _native.Consumer, _native.Call):
        for name in vars(kind):
            if not name.startswith("_"):
                assert re.search(rf"def {name}\b", stubs), f"the stubs lack {kind.__name__}.{name}"
    for name in vars(_native):
        if not name.startswith("__") or name == "__version__":
            assert re.search(rf"^(class |def )?{name}\b", stubs, re.MULTILINE), f"the stubs lack {name}"
