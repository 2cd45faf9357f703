"""A deprecated name of ``airflow_integration``, for DAGs that were written with it."""

import warnings

from airflow_integration import *  # noqa: F403
from airflow_integration import __all__ as __all__

warnings.warn(
    "workflow_integration is a deprecated name: import from airflow_integration", DeprecationWarning, stacklevel=2
)
