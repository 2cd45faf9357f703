"""Other names for what is in `integration_events`, for code that was written for them. New code has no need of them."""

import warnings

warnings.warn(
    "building_blocks is here only another name for integration_events: import from integration_events",
    DeprecationWarning,
    stacklevel=2,
)
