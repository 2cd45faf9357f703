"""The keywords of the helpers: a mistake is logged, and a call that said failed never publishes a success."""

import inspect
import logging
import re
from types import SimpleNamespace

import pytest
from airflow_integration import (
    keywords,
    publish_dag_completion_event,
    publish_event_from_taskflow_context,
    publish_task_completion_event,
    publish_workflow_event,
)
from recording import Recording, TaskInstance2, dag_run
from workflow_events import EventType

# As documented for 2.8.4, without and with what is deprecated there.
CONTEXT_2 = """
conf conn dag dag_run data_interval_end data_interval_start ds ds_nodash execution_date expanded_ti_count exception
inlets logical_date macros next_ds next_ds_nodash next_execution_date outlets params prev_data_interval_start_success
prev_data_interval_end_success prev_ds prev_ds_nodash prev_execution_date prev_execution_date_success
prev_start_date_success prev_end_date_success run_id task task_instance task_instance_key_str test_mode templates_dict
ti tomorrow_ds tomorrow_ds_nodash triggering_dataset_events ts ts_nodash ts_nodash_with_tz try_number var yesterday_ds
yesterday_ds_nodash
""".split()
# Of 3.3.2, and what its callbacks get besides.
CONTEXT_3 = """
conn dag dag_run data_interval_end data_interval_start outlet_events ds ds_nodash expanded_ti_count exception inlets
inlet_events logical_date macros map_index_template outlets params partition_key partition_date
prev_data_interval_start_success prev_data_interval_end_success prev_start_date_success prev_end_date_success reason
run_id start_date task task_reschedule_count task_instance task_instance_key_str task_state_store asset_state_store
templates_dict test_mode ti triggering_asset_events try_number ts ts_nodash ts_nodash_with_tz var
""".split()

EVENT = {"event_type": "WORKFLOW_COMPLETED"}
HELPERS = [
    (publish_workflow_event, EVENT),
    (publish_event_from_taskflow_context, EVENT),
    (publish_task_completion_event, {}),
    (publish_dag_completion_event, {}),
]


@pytest.fixture(autouse=True)
def no_warnings_yet(monkeypatch):
    monkeypatch.setattr(keywords, "_warned", set())


def a_context(names=("dag_run", "ti", "run_id", "task"), **op_kwargs):
    """A context of these keys, as a function of a task with these arguments gets it."""
    ti = TaskInstance2()
    known = {
        "ti": ti,
        "task_instance": ti,
        "dag_run": dag_run(),
        "run_id": "run-1",
        "reason": None,
        "try_number": None,
        "task": SimpleNamespace(op_kwargs=op_kwargs, retries=2),
    }
    return {**{name: known.get(name, "something") for name in names}, **op_kwargs}


def logged(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("publish", "given"), HELPERS)
@pytest.mark.parametrize("names", [CONTEXT_2, CONTEXT_3])
def test_a_whole_context_and_the_tasks_own_arguments_are_no_mistake(publish, given, names, caplog):
    context = a_context(names, bucket="b", topics=["a"], payloads=[1], tasks_result=3, stats="failed")
    producer = Recording()
    assert publish(**given, producer=producer, **context)
    assert producer.event["event_type"] == "WORKFLOW_COMPLETED"
    assert logged(caplog) == []


@pytest.mark.parametrize(("publish", "given"), HELPERS)
@pytest.mark.parametrize(
    ("keyword", "parameter"), [("topik", "topic"), ("timout", "timeout"), ("metdata", "metadata"), ("keys", "key")]
)
def test_a_misspelt_keyword_is_an_error_that_names_the_right_one(publish, given, keyword, parameter, caplog):
    for _ in range(2):
        assert publish(**given, **{keyword: "failed"}, **a_context(), producer=Recording())
    line = "{}= is no keyword of {} and is ignored: did you mean {}=?".format(keyword, publish.__name__, parameter)
    assert logged(caplog) == [("ERROR", line)] * 2


@pytest.mark.parametrize(
    ("publish", "keyword", "parameter"),
    [
        (publish_workflow_event, "paylod", "payload"),
        (publish_workflow_event, "result", "payload"),
        (publish_workflow_event, "status", "payload"),
        (publish_workflow_event, "error", "payload"),
        (publish_event_from_taskflow_context, "data", "payload"),
        (publish_event_from_taskflow_context, "workflow_id", "dag_id"),
        (publish_task_completion_event, "payload", "task_result"),
        (publish_task_completion_event, "task_results", "task_result"),
        (publish_task_completion_event, "eror", "error_message"),
        (publish_task_completion_event, "workflow_run_id", "dag_run_id"),
        (publish_dag_completion_event, "result", "task_results"),
        (publish_dag_completion_event, "state", "dag_status"),
    ],
)
def test_a_keyword_of_another_helper_or_of_the_event_is_an_error_that_names_the_right_one(
    publish, keyword, parameter, caplog
):
    assert publish(**dict(HELPERS)[publish], **{keyword: "boom"}, **a_context(), producer=Recording())
    ((level, line),) = logged(caplog)
    assert (level, line.endswith("did you mean {}=?".format(parameter))) == ("ERROR", True), line


@pytest.mark.parametrize(("publish", "given"), HELPERS)
def test_any_other_keyword_is_a_warning_and_that_once(publish, given, caplog):
    for _ in range(3):
        assert publish(**given, bucket="b", **a_context(), producer=Recording())
    line = "bucket= is no keyword of {} and is ignored".format(publish.__name__)
    assert logged(caplog) == [("WARNING", line)]


@pytest.mark.parametrize(
    ("publish", "own"), [(publish_task_completion_event, "task_status"), (publish_dag_completion_event, "dag_status")]
)
class TestTheStatus:
    @pytest.mark.parametrize("value", ["failed", "Failure ", EventType.WORKFLOW_FAILED, "upstream_failed"])
    def test_status_is_another_name_of_it(self, publish, own, value, caplog):
        producer = Recording()
        assert publish(status=value, error="boom", **a_context(), producer=producer)
        assert producer.event["event_type"] == "WORKFLOW_FAILED"
        assert producer.event["payload"]["data"]["error_message"] == "boom"
        assert logged(caplog) == []

    @pytest.mark.parametrize("keyword", ["staus", "Status", "task_satus", "dag_status_", "state", "task_state"])
    def test_a_misspelt_status_that_is_failed_publishes_no_success(self, publish, own, keyword, caplog):
        producer = Recording()
        assert publish(**{keyword: "failed"}, **a_context(), producer=producer)
        assert producer.event["event_type"] == "WORKFLOW_FAILED"
        line = "{}= is no keyword of {}: it is taken for {}=".format(keyword, publish.__name__, own)
        assert logged(caplog) == [("ERROR", line)]

    def test_the_status_of_the_other_helper_publishes_no_success(self, publish, own, caplog):
        other = {"task_status": "dag_status", "dag_status": "task_status"}[own]
        producer = Recording()
        assert publish(**{other: "failed"}, **a_context(), producer=producer)
        assert producer.event["event_type"] == "WORKFLOW_FAILED"
        assert [level for level, _ in logged(caplog)] == ["ERROR"]

    def test_a_status_that_is_not_known_is_no_success_either(self, publish, own, caplog):
        producer = Recording()
        assert publish(status="kaputt", **a_context(), producer=producer)
        assert producer.event["event_type"] == "WORKFLOW_FAILED"
        assert re.search("'kaputt' is not known", caplog.text)

    def test_its_own_name_has_the_last_word_by_name_and_by_place(self, publish, own, caplog):
        producer = Recording()
        assert publish(**{own: "success"}, status="failed", **a_context(), producer=producer)
        place = ("load", "etl", "run-1", None, "success") if own == "task_status" else ("etl", "run-1", "success")
        assert publish(*place, status="failed", **a_context(), producer=producer)
        assert [event["event_type"] for event, _, _ in producer.calls] == ["WORKFLOW_COMPLETED"] * 2
        assert (
            logged(caplog)
            == [("ERROR", "status= of {} is ignored: {}= was passed as well".format(publish.__name__, own))] * 2
        )

    @pytest.mark.parametrize(
        ("of_the_task", "event_type"), [("failed", "WORKFLOW_FAILED"), ("active", "WORKFLOW_COMPLETED")]
    )
    def test_of_a_tasks_own_arguments_only_one_that_is_known_counts(
        self, publish, own, of_the_task, event_type, caplog
    ):
        producer = Recording()
        assert publish(**a_context(status=of_the_task, result=7, error="no"), producer=producer)
        assert producer.event["event_type"] == event_type
        assert not {"result", "error_message"} & set(producer.event["payload"]["data"])
        assert logged(caplog) == []


def test_result_and_error_are_other_names_for_a_task(producer, caplog):
    assert publish_task_completion_event(
        status="failed", result={"rows": 3}, error="boom", producer=producer, **a_context()
    )
    data = {"task_id": "load", "status": "failed", "result": {"rows": 3}, "error_message": "boom"}
    assert producer.event["payload"]["data"] == data
    assert logged(caplog) == []


def test_the_arguments_are_found_through_the_task_instance_and_in_a_context_passed_whole(producer, caplog):
    ti = TaskInstance2()
    ti.task = SimpleNamespace(op_kwargs={"topics": 1}, retries=2)
    assert publish_dag_completion_event(ti=ti, topics=1, producer=producer)
    assert publish_dag_completion_event(context={"ti": ti}, topics=1, producer=producer)
    assert logged(caplog) == []


class Odd:
    """Raises whatever is done to it."""

    def _raise(self, *_, **__):
        raise RuntimeError("odd")

    __getattr__ = __getitem__ = __str__ = __repr__ = __bool__ = __eq__ = __hash__ = __iter__ = __len__ = _raise


class Odder(Odd):
    """Does so also when it is only asked for its class."""

    __class__ = property(Odd._raise)


@pytest.mark.parametrize(("publish", "given"), HELPERS)
def test_no_keyword_and_no_value_of_one_makes_a_helper_raise_or_lose_its_event(publish, given):
    for name in ("status", "staus", "result", "error", "task", "ti", "x" * 10_000, "\ud800", "", "a b", "%s"):
        for value in (None, 7, Odd, Odd(), {"failed"}, float("nan"), SimpleNamespace(op_kwargs=Odd())):
            producer = Recording()
            about = {"dag_id": "etl", "dag_run_id": "run-1", "task_id": "load", name: value}
            assert publish(**given, **about, producer=producer)
            assert len(producer.calls) == 1
    for name in ("task", "status_", "x"):
        producer = Recording()
        about = {"dag_id": "etl", "dag_run_id": "run-1", "task_id": "load", name: SimpleNamespace(op_kwargs=Odder())}
        assert publish(**given, **about, bucket="b", producer=producer)
        assert len(producer.calls) == 1


def running(function, **op_kwargs):
    """What the function is given by the operator that runs it, and the context that Airflow keeps meanwhile."""
    ti = TaskInstance2()
    ti.task = SimpleNamespace(op_kwargs=op_kwargs, retries=2, python_callable=function)
    airflows = {"ti": ti, "task_instance": ti, "task": ti.task, "dag_run": dag_run(), "run_id": "run-1"}
    current = {**airflows, "task_instance_key_str": "etl__load__20250101", **op_kwargs}
    taken = inspect.signature(function).parameters
    is_open = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    # As Airflow does it: what the function really gets is the operator's `op_kwargs` while it runs.
    ti.task.op_kwargs = {name: value for name, value in current.items() if is_open or name in taken}
    return ti.task.op_kwargs, current


def ignored(keyword, publish):
    return (
        "WARNING",
        f"{keyword}= of {publish.__name__} is ignored: it is an argument of the task (op_kwargs) that came with "
        f"**context. To mean it, pass {keyword}=... with context=context instead of **context",
    )


class TestAnArgumentOfTheTasksFunctionWithTheNameOfAParameter:
    def test_does_not_make_one_event_of_two(self, producer, caplog):
        def work(**context):
            for part in (1, 2):
                payload = {"part": part}
                assert publish_event_from_taskflow_context("WORKFLOW_COMPLETED", payload, producer=producer, **context)

        given, _ = running(work, key="s3://b/f.csv")
        work(**given)
        assert len(set(producer.ids)) == 2
        assert logged(caplog) == [ignored("key", publish_event_from_taskflow_context)]

    @pytest.mark.parametrize(("publish", "given"), HELPERS)
    def test_is_no_topic_no_deadline_and_no_other_dag(self, publish, given, caplog):
        producer, plain = Recording(), Recording()
        others = {"topic": "sales", "timeout": 600, "dag_id": "other", "dag_run_id": "other", "metadata": {"a": 1}}

        def work(**context):
            assert publish(**given, producer=producer, **context)

        handed, _ = running(work, **others)
        work(**handed)
        assert publish(**given, producer=plain, **a_context())
        (event, topic, timeout), (expected, *_) = producer.calls[0], plain.calls[0]
        assert (topic, timeout) == (None, 5.0)
        for field in ("event_id", "workflow_id", "workflow_run_id", "metadata"):
            assert event[field] == expected[field]
        assert sorted(logged(caplog)) == sorted(ignored(name, publish) for name in others)

    def test_counts_when_the_function_names_it_and_passes_it_on(self, producer, caplog):
        def work(topic, key, **context):
            assert publish_workflow_event("X", payload={}, producer=producer, topic=topic, key=key, **context)

        given, _ = running(work, topic="sales", key="k")
        work(**given)
        (event, topic, _) = producer.calls[0]
        assert publish_workflow_event("X", "etl", "run-1", {}, producer=producer, key="k", **a_context())
        assert (topic, producer.ids[1]) == ("sales", event["event_id"])
        assert [line for line in logged(caplog) if "ignored" in line[1]] == []

    def test_counts_when_the_context_is_passed_whole(self, producer, caplog):
        def work(**context):
            assert publish_dag_completion_event(producer=producer, topic=context["topic"], context=context)

        work(**running(work, topic="sales")[0])
        assert producer.calls[0][1] == "sales"
        assert logged(caplog) == []

    def test_does_not_count_when_airflows_own_context_is_unpacked(self, producer, caplog):
        def work(topic):
            assert publish_dag_completion_event(producer=producer, **current)

        given, current = running(work, topic="sales")
        work(**given)
        assert producer.calls[0][1] is None
        assert logged(caplog) == [ignored("topic", publish_dag_completion_event)]

    def test_counts_when_a_function_without_a_context_passes_it_on(self, producer, caplog):
        def work(topic, ti, run_id):
            assert publish_dag_completion_event(producer=producer, topic=topic, ti=ti, run_id=run_id)

        work(**running(work, topic="sales")[0])
        assert producer.calls[0][1] == "sales"
        assert logged(caplog) == []

    def test_counts_when_the_helper_itself_is_the_function(self, producer, caplog):
        given, _ = running(publish_dag_completion_event, topic="sales", dag_status="failed", producer=producer)
        assert publish_dag_completion_event(**given)
        (event, topic, _) = producer.calls[0]
        assert (topic, event["event_type"]) == ("sales", "WORKFLOW_FAILED")
        assert logged(caplog) == []

    def test_leaves_one_that_was_passed_by_its_place_alone(self, producer, caplog):
        def work(**context):
            assert publish_workflow_event("X", "etl", "run-1", {}, None, "runs", producer=producer, **context)

        work(**running(work, topic="sales", payload=[1])[0])
        (event, topic, _) = producer.calls[0]
        assert (topic, event["payload"]) == ("runs", {"data": {}})
        assert {line for line in logged(caplog) if "ignored" in line[1]} == {
            ignored(name, publish_workflow_event) for name in ("topic", "payload")
        }

    @pytest.mark.parametrize(("value", "event_type"), [("failed", "FAILED"), ("active", "COMPLETED")])
    def test_counts_as_a_status_if_it_is_one(self, value, event_type, producer):
        def work(**context):
            assert publish_task_completion_event(producer=producer, **context)

        work(**running(work, task_status=value)[0])
        assert producer.event["event_type"] == "WORKFLOW_" + event_type

    @pytest.mark.parametrize("own", [{}, {"run_id": "other"}])
    def test_is_no_other_run_and_the_contexts_own_is_no_mistake(self, own, producer, caplog):
        def work(**context):
            assert publish_task_completion_event(producer=producer, **context)

        work(**running(work, **own)[0])
        assert producer.event["workflow_run_id"] == "run-1"
        assert logged(caplog) == [ignored(name, publish_task_completion_event) for name in own]
