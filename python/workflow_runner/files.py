"""Writes a file that another process may read at any moment: it finds the old content or the new one."""

from __future__ import annotations

import os
import tempfile


def replace(path: str, text: str) -> None:
    """Puts this text into the file, and makes its folder. Raises OSError."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    # Hidden, and not named as a module: Airflow loads every .py of the folder.
    descriptor, new = tempfile.mkstemp(prefix=".workflow_runner-", suffix=".new", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
