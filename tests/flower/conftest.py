"""Flower, quiet and offline: it reads these when it is imported."""

from __future__ import annotations

import os
import warnings

os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)

with warnings.catch_warnings():  # what it imports may warn of what it imports
    warnings.simplefilter("ignore")
    import flwr.client
    import flwr.clientapp
    import flwr.server
    import flwr.serverapp  # noqa: F401
