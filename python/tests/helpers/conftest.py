"""The recording producer, and an environment without the variables of a task process."""

import pytest
from recording import Recording


@pytest.fixture
def producer():
    return Recording()
