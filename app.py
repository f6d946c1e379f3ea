"""Serves CMW Agent: ``python app.py``, or ``uvicorn app:app`` behind a server of one's own."""

import gc
import sys

# Imports leave little garbage, and looking for it takes a third of the start.
gc.disable()

from cmw_agent.cli.serve import serve, start  # noqa: E402
from cmw_agent.core.errors import StartupError  # noqa: E402

try:
    application = start()
except StartupError as error:
    print(error, file=sys.stderr)
    raise SystemExit(2) from None
gc.enable()

app = application.asgi
demo = application.demo

if __name__ == "__main__":
    serve(application)
