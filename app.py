"""Serves CMW Agent: ``python app.py``, or ``uvicorn app:app`` behind a server of one's own."""

import sys

from cmw_agent.cli.collection import rare_collections
from cmw_agent.core.errors import StartupError

try:
    with rare_collections():
        from cmw_agent.cli.serve import serve, start

        application = start()
except StartupError as error:
    print(error, file=sys.stderr)
    raise SystemExit(2) from None

app = application.asgi
demo = application.demo

if __name__ == "__main__":
    serve(application)
