"""A worker gone wrong, as a hostile document might make it; the file's text says how."""

import json
import subprocess
import sys
import time
from pathlib import Path

job = json.loads(sys.stdin.readline())
how, _, note = Path(job["source"]).read_text().partition(" ")
if how == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(note).write_text(str(child.pid))
    time.sleep(600)
while how == "print":
    sys.stdout.write("x" * 65_536)
if how == "nonsense":
    sys.stdout.write("no answer")
