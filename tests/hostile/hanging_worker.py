"""An extraction worker that misbehaves in the way that the document's text names."""

import json
import subprocess
import sys
import time
from pathlib import Path

job = json.loads(sys.stdin.readline())
behaviour, _, note = Path(job["source"]).read_text().partition(" ")
if behaviour == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(note).write_text(str(child.pid))
    time.sleep(600)
while behaviour == "print":
    sys.stdout.write("x" * 65_536)
if behaviour == "nonsense":
    sys.stdout.write("no answer")
