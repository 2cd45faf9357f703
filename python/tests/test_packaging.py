"""The wheel's crate and the bridge share one build of librdkafka and OpenSSL, which takes minutes."""

import subprocess
from pathlib import Path
from typing import Set

REPOSITORY = Path(__file__).parents[2]
NATIVE = ("rdkafka-sys", "openssl-sys", "openssl-src", "libz-sys", "zstd-sys", "cc", "cmake", "pkg-config")


def built(package: str) -> Set[str]:
    """The native crates, and what builds them, with the features that they have when the package is built alone."""
    command = ["cargo", "tree", "--offline", "--locked", "--package", package, "--edges", "normal,build"]
    command += ["--prefix", "none", "--format", "{p} {f}"]
    tree = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=True).stdout
    return {line.replace(" (*)", "") for line in tree.splitlines() if line.split(" ")[0] in NATIVE}


def test_the_wheel_builds_nothing_native_that_the_bridge_does_not_build_the_same() -> None:
    bridge, wheel = built("workflow-bridge"), built("workflow-events")
    assert {line.split(" ")[0] for line in wheel} >= {"rdkafka-sys", "openssl-sys", "openssl-src"}
    assert wheel - bridge == set()
