"""What a start takes: seconds and CPU until the first answer, and the memory it leaves.

python -m benchmarks.start [ROUNDS]
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEGABYTE = 1024  # of the kilobytes that Linux tells


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / MEGABYTE


def start(folder: str) -> tuple[float, float, float]:
    """Start the app in an empty data folder; return seconds, CPU seconds and megabytes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"CMW_DATA_DIR": folder, "CMW_PORT": str(port)}
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while process.poll() is None:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60).close()
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.02)
                    continue
                seconds = time.monotonic() - began
                return seconds, cpu_seconds(process.pid), resident_megabytes(process.pid)
            raise SystemExit("the app did not start")
        finally:
            process.terminate()


if __name__ == "__main__":
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        with tempfile.TemporaryDirectory() as data:
            print("{:5.2f} s, {:5.2f} s of CPU, {:4.0f} MB".format(*start(data)), flush=True)
