"""The worker of imports, which holds at conversations that say so.

The title "hold PATH" names a pipe: the worker goes on when the test opens it for writing, and never
where the test does not.
"""

import json
import sys
from pathlib import Path

import orjson

from cmw_agent.conversations.importing.records import ImportLimits
from cmw_agent.conversations.importing.worker import events

if __name__ == "__main__":
    title = ""
    for event in events(sys.stdin.buffer, ImportLimits(**json.loads(sys.argv[1])["limits"])):
        if event["event"] == "conversation":
            title = event["title"]
        if event["event"] == "end" and title.startswith("hold "):
            Path(title.removeprefix("hold ")).read_bytes()
        sys.stdout.buffer.write(orjson.dumps(event) + b"\n")
        sys.stdout.buffer.flush()
