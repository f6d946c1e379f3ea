"""Settings of Gradio that it reads from the environment at import.

This module is imported before `gradio` wherever the app uses it.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

from cmw_agent.web.gradio_transport import lean_imports

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # Nothing about this app or its users is reported to anybody.
        "GRADIO_ANALYTICS_ENABLED": "False",
        # Gradio groups its last 10,000 events by pandas after every event: 3 to 12 ms each.
        "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
        "GRADIO_ANALYTICS_MAX_EVENTS": "100",
        "GRADIO_RUN_HISTORY": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
)


def prepare() -> None:
    """Set what Gradio reads at import; what the operator has set stays."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "matplotlib" not in sys.modules and importlib.util.find_spec("matplotlib") is None:
        # Gradio tries this import twice at each update: over a tenth of its CPU.
        sys.modules["matplotlib"] = None  # type: ignore[assignment]
    lean_imports.install()


prepare()
