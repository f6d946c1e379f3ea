"""A program that converts documents as LibreOffice does when it is run without a window.

``soffice -env:UserInstallation=URL --headless --convert-to ENDING --outdir FOLDER FILE`` writes a profile
to the address, and ``FOLDER/FILE's stem.ENDING``: a file of that ending that lies beside the program.
Like LibreOffice it ends with an error when the profile is new, and with none where it cannot read the
file, which then is not there.
"""

import stat
import sys
from collections.abc import Mapping
from pathlib import Path

SCRIPT = """#!{python}
import pathlib, sys, urllib.parse
arguments = sys.argv[1:]
value = lambda name: arguments[arguments.index(name) + 1]
assert "--headless" in arguments, arguments
(address,) = [a.partition("=")[2] for a in arguments if a.startswith("-env:UserInstallation=file://")]
profile = pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path), "user")
is_new = not profile.exists()
profile.mkdir(parents=True, exist_ok=True)
(profile / "registrymodifications.xcu").write_text("<oor:items/>")
if is_new:
    sys.exit(81)
source = pathlib.Path(arguments[-1])
ending = value("--convert-to").partition(":")[0]
converted = pathlib.Path(sys.argv[0]).resolve().parent / ("converted." + ending)
content = converted.read_bytes() if converted.exists() and source.read_bytes() else b""
{work}
if content:
    out = pathlib.Path(value("--outdir"))
    out.mkdir(exist_ok=True)
    (out / (source.stem + "." + ending)).write_bytes(content)
"""


def install(folder: Path, converted: Mapping[str, bytes], work: str = "") -> Path:
    """Write the program into a folder that is to stand in PATH; return the folder.

    Args:
        folder: Made.
        converted: What it makes of any document, by ending.
        work: Statements that it runs before it writes `content`, which they may change.
    """
    folder.mkdir(parents=True)
    program = folder / "soffice"
    program.write_text(SCRIPT.format(python=sys.executable, work=work))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for ending, content in converted.items():
        (folder / f"converted.{ending}").write_bytes(content)
    return folder
