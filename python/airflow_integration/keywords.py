"""The keywords of a helper: its own, those of an Airflow context, and mistakes.

A helper takes ``**context``, so a misspelt keyword looks like one more key of it. A key of a context is recognised by
its name, an argument of the task's function (Airflow passes them with the context) by the operator's ``op_kwargs``. Any
other keyword is logged. The invariants: an argument of the task's function never becomes a parameter because it has the
same name; nothing here raises; a status that says failed is never replaced by the default, which is success.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from workflow_events.interrupts import interrupts

from .context import look_up, read, task_instance
from .event_types import is_status
from .log import log, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# The keys of a context in Airflow 2.8 to 3.3 (KNOWN_CONTEXT_KEYS, and what callbacks get besides), and `context`
# itself, for a context that is passed whole.
CONTEXT_KEYS = frozenset(
    """
    asset_state_store conf conn context dag dag_run data_interval_end data_interval_start deadline ds ds_nodash
    exception execution_date expanded_ti_count inlet_events inlets logical_date macros map_index_template next_ds
    next_ds_nodash next_execution_date outlet_events outlets params partition_date partition_key
    prev_data_interval_end_success prev_data_interval_start_success prev_ds prev_ds_nodash prev_end_date_success
    prev_execution_date prev_execution_date_success prev_start_date_success reason run_id start_date task
    task_instance task_instance_key_str task_reschedule_count task_state_store templates_dict test_mode ti
    tomorrow_ds tomorrow_ds_nodash triggering_asset_events triggering_dataset_events try_number ts ts_nodash
    ts_nodash_with_tz var yesterday_ds yesterday_ds_nodash
    """.split()
)

# Other names of a parameter: those of the event's fields.
ALIASES = {
    "status": ("task_status", "dag_status"),
    "result": ("task_result",),
    "error": ("error_message",),
}

# Wrong names of a parameter, and what they most likely mean: the first of these that the helper has.
_STATUS = ("task_status", "dag_status", "payload")
_DATA = ("task_result", "task_results", "payload")
_ERROR = ("error_message", "payload")
_INTENDED = {
    **dict.fromkeys(("status", "state", *_STATUS[:2]), _STATUS),
    **dict.fromkeys(("result", "results", "data", *_DATA), _DATA),
    **dict.fromkeys(("error", "message", _ERROR[0]), _ERROR),
    "workflow_id": ("dag_id",),
    "workflow_run_id": ("dag_run_id",),
}

# In each context of a task, and never passed alone: it shows that a whole context was unpacked.
_UNPACKED = "task_instance_key_str"

# The (helper, keyword) pairs that were logged as unknown: `set.add` is atomic.
_warned: set[tuple[str, str]] = set()


def checks_keywords(function: Callable[..., bool]) -> Callable[..., bool]:
    """For a helper with ``**context``: resolves aliases of its parameters, and logs unknown keywords."""
    code = function.__code__
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(function)
    def called(*args: Any, **given: Any) -> bool:
        try:
            given = _without_task_arguments(function.__name__, parameters, len(args), given)
            given = _resolve_aliases(function.__name__, parameters, len(args), given)
        except Exception as error:
            if interrupts(error):
                raise
            log(logging.ERROR, "the keywords of %s could not be read", function.__name__, exc_info=True)
        return function(*args, **given)

    return called


def _without_task_arguments(
    helper: str, parameters: tuple[str, ...], positional: int, given: dict[str, Any]
) -> dict[str, Any]:
    """The keywords without arguments of the task's function that have the name of a parameter."""
    own = [name for name in parameters if name in given]
    # With a context that is passed whole, every keyword was written by the caller.
    arguments = _arguments_of_the_task(given) if own and "context" not in given else {}
    own = [name for name in own if name in arguments and arguments[name] is given[name]]
    if not own:
        return given
    named, is_open = _named_by_the_task(given)
    # When the function has no `**context`, `get_current_context()` was unpacked, which holds all arguments.
    all_of_them = not is_open and _UNPACKED in given and _UNPACKED not in named
    left = dict(given)
    for name in own:
        written_out = name in named and not all_of_them
        is_known_status = name in ALIASES["status"] and is_status(given[name])
        if name not in parameters[:positional] and (written_out or is_known_status or _is_of_airflow(name, given)):
            continue
        del left[name]
        if (helper, f"{name} of op_kwargs") not in _warned:
            _warned.add((helper, f"{name} of op_kwargs"))
            log(
                logging.WARNING,
                "%s= of %s is ignored: it is an argument of the task (op_kwargs) that came with **context. To mean it, "
                "pass %s=... with context=context instead of **context",
                name,
                helper,
                name,
            )
    return left


def _is_of_airflow(name: str, given: dict[str, Any]) -> bool:
    """Whether Airflow put it into the context: the id of the run, the number of the attempt."""
    return name in CONTEXT_KEYS and read(task_instance(given), name) in (None, given[name])


def _resolve_aliases(
    helper: str, parameters: tuple[str, ...], positional: int, given: dict[str, Any]
) -> dict[str, Any]:
    strange = [name for name in given if name not in parameters and name not in CONTEXT_KEYS]
    if not strange:
        return given
    resolved = dict(given)
    passed = {*parameters[:positional], *given}
    arguments = _arguments_of_the_task(given)
    for name in strange:
        own = _intended(name, parameters)
        alias = own in ALIASES.get(name, ())
        is_known_status = own in ALIASES["status"] and is_status(given[name])
        of_the_task = name in arguments
        wanted = (alias and is_known_status) if of_the_task else (alias or is_known_status)
        if wanted and own is not None and own not in passed:
            resolved[own] = resolved.pop(name)
            passed.add(own)
            if not alias:
                log(logging.ERROR, "%s= is no keyword of %s: it is taken for %s=", name, helper, own)
        elif of_the_task:
            pass
        elif alias:
            log(logging.ERROR, "%s= of %s is ignored: %s= was passed as well", name, helper, own)
        elif own is not None:
            log(logging.ERROR, "%s= is no keyword of %s and is ignored: did you mean %s=?", name, helper, own)
        elif (helper, name) not in _warned:
            _warned.add((helper, name))
            log(logging.WARNING, "%s= is no keyword of %s and is ignored", name, helper)
    return resolved


def _intended(name: str, parameters: tuple[str, ...]) -> str | None:
    """The parameter that an unknown keyword most likely means."""
    own = _of(name, parameters)
    if own is None:
        close = nearest(name, [*parameters, *_INTENDED])
        own = close if close in parameters or close is None else _of(close, parameters)
    return own


def _of(name: str, parameters: tuple[str, ...]) -> str | None:
    return next((own for own in _INTENDED.get(name, ()) if own in parameters), None)


def _arguments_of_the_task(given: dict[str, Any]) -> Mapping[str, Any]:
    """The arguments of the task's function, if the context has the task and the task has ``op_kwargs``."""
    arguments = read(_task(given), "op_kwargs")
    return arguments if isinstance(arguments, Mapping) else {}


def _named_by_the_task(given: dict[str, Any]) -> tuple[frozenset[str], bool]:
    """The named parameters of the task's function, and whether it has a ``**context``."""
    import inspect

    function = read(_task(given), "python_callable")
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # No signature, or one that cannot be read.
        return frozenset(), True
    taken = {each.name for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    return frozenset(taken), any(each.kind is each.VAR_KEYWORD for each in found)


def _task(given: dict[str, Any]) -> Any:
    task = look_up(given, "task")
    return read(task_instance(given), "task") if task is None else task
