"""The recorder, and the variables of a task process taken away."""

import pytest
from recording import Recording


@pytest.fixture
def producer():
    return Recording()
