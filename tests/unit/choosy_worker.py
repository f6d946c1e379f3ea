"""An extraction worker that hangs for a file that says so, and answers at once otherwise."""

import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    job = json.loads(sys.stdin.readline())
    content = Path(job["source"]).read_text()
    while "slow" in content:
        time.sleep(1)
    sys.stdout.write(json.dumps({"media_type": job["media_type"], "text": content}))
