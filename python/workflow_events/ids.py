"""Deterministic ids: publishing the same thing twice publishes one event.

Knows nothing of what the parts mean: airflow_integration chooses those of an event of a DAG.
"""

from __future__ import annotations

# The namespace of every id that this package derives. A changed namespace would change every id.
NAMESPACE = "6d1f3a52-8f0e-5c1b-9a77-2b40c9d5e3f1"


def derive(*parts: object) -> str:
    """A uuid5 over the parts, as text: equal parts give equal ids, on every host and in every version.

    Each part is turned into text by `str`, and goes in with its length before it (8 bytes, big-endian, then UTF-8), so
    that `("ab", "c")` and `("a", "bc")` differ. A lone surrogate counts as the bytes that it stands for.
    """
    from hashlib import sha1
    from uuid import UUID

    hashed = sha1(UUID(NAMESPACE).bytes, usedforsecurity=False)
    for part in parts:
        text = str(part).encode("utf-8", "surrogatepass")
        hashed.update(len(text).to_bytes(8, "big"))
        hashed.update(text)
    return str(UUID(bytes=hashed.digest()[:16], version=5))
