"""What the package raises, alone and beside kafka-python and aiokafka."""

import pickle
import subprocess
import sys
import traceback

import kafka.errors
import pytest
from workflow_events import KafkaConfigurationError, KafkaError, KafkaTimeoutError, NoBrokersAvailable
from workflow_events import errors as ours


def test_each_error_is_also_an_error_of_kafka_python_once_that_is_imported() -> None:
    for make in (KafkaError, NoBrokersAvailable, KafkaTimeoutError, KafkaConfigurationError):
        with pytest.raises(kafka.errors.KafkaError) as caught:
            raise make("said")
        assert isinstance(caught.value, make)
    for make, theirs in (
        (KafkaTimeoutError, kafka.errors.KafkaTimeoutError),
        (KafkaConfigurationError, kafka.errors.KafkaConfigurationError),
    ):
        with pytest.raises(theirs):
            raise make("said")
    assert isinstance(KafkaConfigurationError("said"), ValueError)


def test_each_error_is_also_one_of_aiokafka_once_that_is_imported_beside_the_other() -> None:
    program = """
import pickle
from workflow_events import KafkaConfigurationError, KafkaError, KafkaTimeoutError, NoBrokersAvailable
from integration_events import KafkaConnectionError, MessageSizeTooLargeError
kinds = (KafkaError, KafkaTimeoutError, NoBrokersAvailable, KafkaConfigurationError, KafkaConnectionError,
         MessageSizeTooLargeError)
import aiokafka.errors
for make in kinds:
    error = make("said", kind="word")
    theirs = getattr(aiokafka.errors, make.__name__, aiokafka.errors.KafkaError)
    assert isinstance(error, make) and isinstance(error, theirs), type(error).__mro__
    assert (str(error), error.kind, type(error).__name__) == ("said", "word", make.__name__)
import kafka.errors
for make in kinds:
    error = pickle.loads(pickle.dumps(make("said", kind="word")))
    assert isinstance(error, make) and isinstance(error, aiokafka.errors.KafkaError)
    assert isinstance(error, getattr(kafka.errors, make.__name__, kafka.errors.KafkaError)), type(error).__mro__
    assert (str(error), error.kind) == ("said", "word")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_an_error_has_its_message_and_its_class_name() -> None:
    error = KafkaTimeoutError("2 events are under way", kind="flush")
    assert (str(error), error.args, error.kind) == ("2 events are under way", ("2 events are under way",), "flush")
    printed = "".join(traceback.format_exception_only(type(error), error))
    assert printed == "workflow_events.errors.KafkaTimeoutError: 2 events are under way\n"


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(NoBrokersAvailable("nobody", kind="no_broker")))
    assert (type(error), str(error), error.kind) == (type(NoBrokersAvailable()), "nobody", "no_broker")
    assert isinstance(error, NoBrokersAvailable)


def test_a_subclass_of_a_users_own_stays_itself() -> None:
    class Mine(KafkaError):
        pass

    assert type(Mine("said")) is Mine


def test_the_errors_do_not_import_kafka_and_take_its_classes_when_somebody_else_does() -> None:
    program = """
import sys
from workflow_events import KafkaError, KafkaTimeoutError
early = KafkaTimeoutError("said")
assert type(early) is KafkaTimeoutError, type(early).__mro__
assert "kafka" not in sys.modules
import kafka.errors
try:
    raise KafkaTimeoutError("said")
except kafka.errors.KafkaTimeoutError as late:
    assert isinstance(late, KafkaTimeoutError)
sys.modules["kafka.errors"] = type(sys)("kafka.errors")  # Another kafka, or one that is half imported.
assert type(KafkaError("said")) is KafkaError
sys.modules["kafka.errors"].KafkaError = type("KafkaError", (RuntimeError,), {})
assert isinstance(KafkaTimeoutError("said"), RuntimeError)  # What it lacks is its KafkaError.
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_every_error_of_the_module_is_public() -> None:
    import workflow_events

    names = [name for name, value in vars(ours).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert names
    for name in names:
        assert getattr(workflow_events, name) is getattr(ours, name)
