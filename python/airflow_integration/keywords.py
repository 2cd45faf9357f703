"""The keywords of a helper: which are its own, which come with an Airflow context, and which are a mistake.

A helper takes ``**context``, so a keyword that is misspelt looks like one more key of it. Here they are told apart: a
key of a context by its name, an argument of the task's function (Airflow puts them beside the context) by the
operator's ``op_kwargs``. What is left is told in the log. The invariants: an argument of the task's function never
becomes a parameter by having its name; nothing here raises; a status which says failed is never dropped for the
default, which is success.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from workflow_events.interrupts import interrupts

from . import shaping
from .context import look_up, read, task_instance
from .log import nearest, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# What Airflow 2.8 to 3.3 put into a context (their KNOWN_CONTEXT_KEYS, and what their callbacks get besides), and
# `context` itself: a context that is passed whole.
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

# Other names, which count as the parameter: they are what the event itself calls it.
ALIASES = {
    "status": ("task_status", "dag_status"),
    "result": ("task_result",),
    "error": ("error_message",),
}

# What is no name of it, but most likely means it: the first of these that the helper has.
_STATUS = ("task_status", "dag_status", "payload")
_DATA = ("task_result", "task_results", "payload")
_ERROR = ("error_message", "payload")
_MEANT = {
    **dict.fromkeys(("status", "state", *_STATUS[:2]), _STATUS),
    **dict.fromkeys(("result", "results", "data", *_DATA), _DATA),
    **dict.fromkeys(("error", "message", _ERROR[0]), _ERROR),
    "workflow_id": ("dag_id",),
    "workflow_run_id": ("dag_run_id",),
}

# In each context of a task, and passed by nobody alone: it tells an unpacked context from a few of its values.
_UNPACKED = "task_instance_key_str"

# Helper and keyword, of those that were told as unknown: `set.add` is atomic.
_told: set[tuple[str, str]] = set()


def knows_its_keywords(function: Callable[..., bool]) -> Callable[..., bool]:
    """For a helper with ``**context``: gives it its aliases under their own name, and tells what it does not know."""
    code = function.__code__
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(function)
    def called(*args: Any, **given: Any) -> bool:
        try:
            given = _without_arguments(function.__name__, parameters, len(args), given)
            given = _understood(function.__name__, parameters, len(args), given)
        except Exception as error:
            if interrupts(error):
                raise
            say(logging.ERROR, "the keywords of %s could not be told apart", function.__name__, exc_info=True)
        return function(*args, **given)

    return called


def _without_arguments(
    helper: str, parameters: tuple[str, ...], positional: int, given: dict[str, Any]
) -> dict[str, Any]:
    """Without the arguments of the task's function that came with ``**context`` and have the name of a parameter."""
    own = [name for name in parameters if name in given]
    # A context that is passed whole brings no keywords: these were all written out.
    arguments = _arguments_of_the_task(given) if own and "context" not in given else {}
    own = [name for name in own if name in arguments and arguments[name] is given[name]]
    if not own:
        return given
    named, is_open = _named_by_the_task(given)
    # Where the function names no context but has one, `get_current_context()` was unpacked, and it holds them all.
    all_of_them = not is_open and _UNPACKED in given and _UNPACKED not in named
    left = dict(given)
    for name in own:
        written_out = name in named and not all_of_them
        says_how_it_ended = name in ALIASES["status"] and shaping.is_status(given[name])
        if name not in parameters[:positional] and (written_out or says_how_it_ended or _is_of_airflow(name, given)):
            continue
        del left[name]
        if (helper, f"{name} of op_kwargs") not in _told:
            _told.add((helper, f"{name} of op_kwargs"))
            say(
                logging.WARNING,
                "%s= of %s is ignored: it is an argument of the task (op_kwargs) that came with **context. To mean it, "
                "pass %s=... with context=context instead of **context",
                name,
                helper,
                name,
            )
    return left


def _is_of_airflow(name: str, given: dict[str, Any]) -> bool:
    """Whether it is what Airflow itself put into the context: the id of the run, the number of the attempt."""
    return name in CONTEXT_KEYS and read(task_instance(given), name) in (None, given[name])


def _understood(helper: str, parameters: tuple[str, ...], positional: int, given: dict[str, Any]) -> dict[str, Any]:
    strange = [name for name in given if name not in parameters and name not in CONTEXT_KEYS]
    if not strange:
        return given
    understood = dict(given)
    said = {*parameters[:positional], *given}
    arguments = _arguments_of_the_task(given)
    for name in strange:
        own = _meant(name, parameters)
        alias = own in ALIASES.get(name, ())
        says_how_it_ended = own in ALIASES["status"] and shaping.is_status(given[name])
        of_the_task = name in arguments
        wanted = (alias and says_how_it_ended) if of_the_task else (alias or says_how_it_ended)
        if wanted and own is not None and own not in said:
            understood[own] = understood.pop(name)
            said.add(own)
            if not alias:
                say(logging.ERROR, "%s= is no keyword of %s: it is taken for %s=", name, helper, own)
        elif of_the_task:
            pass
        elif alias:
            say(logging.ERROR, "%s= of %s is ignored: %s= was passed as well", name, helper, own)
        elif own is not None:
            say(logging.ERROR, "%s= is no keyword of %s and is ignored: did you mean %s=?", name, helper, own)
        elif (helper, name) not in _told:
            _told.add((helper, name))
            say(logging.WARNING, "%s= is no keyword of %s and is ignored", name, helper)
    return understood


def _meant(name: str, parameters: tuple[str, ...]) -> str | None:
    """The parameter that a keyword which is none is most likely meant to be."""
    own = _of(name, parameters)
    if own is None:
        close = nearest(name, [*parameters, *_MEANT])
        own = close if close in parameters or close is None else _of(close, parameters)
    return own


def _of(name: str, parameters: tuple[str, ...]) -> str | None:
    return next((own for own in _MEANT.get(name, ()) if own in parameters), None)


def _arguments_of_the_task(given: dict[str, Any]) -> Mapping[str, Any]:
    """The arguments of the function that the task runs, if the context names the task and the task has such."""
    arguments = read(_task(given), "op_kwargs")
    return arguments if isinstance(arguments, Mapping) else {}


def _named_by_the_task(given: dict[str, Any]) -> tuple[frozenset[str], bool]:
    """The parameters that the task's function names, which are not in its ``**context``, and whether it has one."""
    import inspect

    function = read(_task(given), "python_callable")
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # It has none, or one that cannot be read.
        return frozenset(), True
    taken = {each.name for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    return frozenset(taken), any(each.kind is each.VAR_KEYWORD for each in found)


def _task(given: dict[str, Any]) -> Any:
    task = look_up(given, "task")
    return read(task_instance(given), "task") if task is None else task
