"""Serves CMW Agent: ``python app.py``, or ``uvicorn app:app`` behind a server of one's own."""

import gc
import sys

# Imports leave little garbage: looking for it after every 700 objects takes a third of the start.
gc.set_threshold(10_000)

from cmw_agent.cli.serve import serve, start  # noqa: E402
from cmw_agent.core.errors import StartupError  # noqa: E402

try:
    application = start()
except StartupError as error:
    print(error, file=sys.stderr)
    raise SystemExit(2) from None

app = application.asgi
demo = application.demo

if __name__ == "__main__":
    serve(application)
