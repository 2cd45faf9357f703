"""Derived ids: the same on every host and in every version."""

import uuid

import pytest
from workflow_events import ids


def test_the_ids_are_those_of_the_first_version() -> None:
    assert ids.NAMESPACE == "6d1f3a52-8f0e-5c1b-9a77-2b40c9d5e3f1"
    assert ids.derive("etl", "run_1", "WORKFLOW_COMPLETED") == "e9002556-27fd-5c46-a7dc-df85c7e0e6ec"
    assert (
        ids.derive("etl", "manual__2026-01-31T12:00:00+00:00", "Grüße", 0, -1, None)
        == "94d094b4-86ba-5188-8cee-5e8e26deb29f"
    )
    assert ids.derive() == "eb68dc36-4dfb-5463-a7ec-32d839ebae71"


def test_an_id_is_a_uuid5_over_the_length_prefixed_parts() -> None:
    joined = b"\x00\x00\x00\x00\x00\x00\x00\x02ab" + b"\x00\x00\x00\x00\x00\x00\x00\x01c"
    namespace = uuid.UUID(ids.NAMESPACE)
    # uuid.uuid5 takes text alone before Python 3.12; these bytes are text.
    assert ids.derive("ab", "c") == str(uuid.uuid5(namespace, joined.decode()))


@pytest.mark.parametrize(
    ("one", "other"), [(("ab", "c"), ("a", "bc")), (("a",), ("a", "")), (("1", "2"), ("12",)), (("a", "b"), ("b", "a"))]
)
def test_other_parts_give_another_id(one: "tuple[str, ...]", other: "tuple[str, ...]") -> None:
    assert ids.derive(*one) != ids.derive(*other)


def test_any_text_has_an_id() -> None:
    assert uuid.UUID(ids.derive("\ud800", "\x00")).version == 5
