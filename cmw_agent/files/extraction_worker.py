"""Reads one file in a process of its own: `python -m cmw_agent.files.extraction_worker`.

It knows no setting and no secret, opens no connection, and writes one JSON object to its
standard output: ``media_type`` and ``text``, or ``refused`` with a fixed word. What it was
given may be hostile: the caller trusts nothing that this process does. It opens the file, and
the picture that it is to write, before it enters the sandbox; from then on it can open nothing but
the interpreter and its libraries.
"""

import json
import os
import sys
import sysconfig
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cmw_agent.files import sandbox

MAX_CHARS = 200_000
CUT_NOTE = "\n\n[The rest of this file was left out.]"
MAX_UNPACKED = 200 * 1024 * 1024
MAX_RATIO = 100
MAX_ENTRIES = 10_000
MAX_PIXELS = 50_000_000
PICTURE_EDGE = 1568
PNG_BYTES = 1_000_000
OPEN_FILES = 128
# Shared libraries, kinds of files, time zones, fonts; what the processor can do.
SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *("/etc/ld.so.cache", "/etc/mime.types", "/etc/localtime", "/usr/share"),
    *("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
)
NO_NETWORK = frozenset({"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"})
NO_PROCESS = frozenset({"os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen"})
OFFICE = {
    "word/document.xml": (
        ".docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    "xl/workbook.xml": (
        ".xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    "ppt/presentation.xml": (
        ".pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
}
ENDINGS = {"application/pdf": ".pdf", "text/html": ".html"}


class RefusedError(Exception):
    """The file is not read; the argument is a fixed word."""


Reader = Callable[[BinaryIO, str, BinaryIO | None], dict[str, str]]


def main(read: Reader | None = None) -> None:
    """Read the job from standard input, do it in the sandbox and print what came of it.

    Args:
        read: What is done with the file; a test of the sandbox brings a hostile one.
    """
    job = json.loads(sys.stdin.buffer.readline())
    # What libraries print must not get into the answer.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit(job)
    sys.addaudithook(_forbid)
    warnings.simplefilter("ignore")
    answer.write(json.dumps(_result(job, read or _read)).encode())
    answer.flush()
    # A library's threads and exit handlers have nothing to say any more.
    os._exit(0)


def _result(job: dict[str, Any], read: Reader) -> dict[str, str]:
    try:
        # Closed by the end of the process.
        source, picture = _opened(job)
        sandbox.enter(_readable())
        return read(source, job["media_type"], picture)
    except RefusedError as refused:
        return {"refused": str(refused)}
    except sandbox.SandboxError:
        return {"refused": "unavailable"}
    except MemoryError:
        return {"refused": "memory"}
    except Exception:  # noqa: BLE001 (whatever a hostile file does to a library)
        return {"refused": "damaged"}


def _opened(job: dict[str, Any]) -> tuple[BinaryIO, BinaryIO | None]:
    binary = getattr(os, "O_BINARY", 0)  # of Windows
    source = os.fdopen(os.open(job["source"], os.O_RDONLY | binary), "rb")
    if not job["media_type"].startswith("image/"):
        return source, None
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | binary
    return source, os.fdopen(os.open(job["picture"], flags, 0o600), "w+b")


def _readable() -> Iterator[Path]:
    """Yield what the interpreter and its libraries are made of, and what these look up."""
    house = Path(__file__).parents[
        1
    ]  # the data folder and `.env` may lie there: not the whole of it
    yield house / "cmw_agent"
    yield from (path for path in map(Path, filter(None, sys.path)) if path.resolve() != house)
    yield from (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    yield Path(sys.base_prefix, "lib")
    yield from map(Path, SYSTEM)


def _limit(job: dict[str, Any]) -> None:
    try:
        import resource  # noqa: PLC0415 (not there on Windows)
    except ImportError:  # Windows: the caller's clock is the limit there
        return
    wanted = {
        resource.RLIMIT_AS: job["megabytes"] << 20,
        resource.RLIMIT_CPU: job["seconds"],
        resource.RLIMIT_FSIZE: job["output"],
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):  # macOS knows no limit of addresses
            continue


def _forbid(event: str, _arguments: tuple[object, ...]) -> None:
    if event in NO_NETWORK or event in NO_PROCESS:
        raise PermissionError(event)


def _read(source: BinaryIO, media_type: str, picture: BinaryIO | None) -> dict[str, str]:
    if picture is not None:
        _draw(source, media_type, picture)
        return {"media_type": media_type}
    if media_type == "application/zip":
        ending, media_type = _office(source)
        text = _converted(source, ending, media_type)
    elif media_type in ENDINGS:
        text = _converted(source, ENDINGS[media_type], media_type)
    else:
        text = _plain(source)
    text = text.replace("\0", "").encode(errors="ignore").decode().strip()
    if len(text) > MAX_CHARS:
        text = text[:MAX_CHARS] + CUT_NOTE
    return {"media_type": media_type, "text": text}


def _plain(source: BinaryIO) -> str:
    most = MAX_CHARS * 4 + 4
    head = source.read(most)
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return head.decode(encoding)
    except UnicodeDecodeError as error:
        if len(head) == most and most - error.start < 4:  # the cut went through a character
            return head[: error.start].decode(encoding)
    return head.decode("cp1252", errors="replace")


def _office(source: BinaryIO) -> tuple[str, str]:
    """Return ending and media type of an office file, once it is safe to unpack."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise RefusedError("damaged") from None
    if len(entries) > MAX_ENTRIES:
        raise RefusedError("bomb")
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
        if is_link or ".." in parts or entry.filename.startswith(("/", "\\")):
            raise RefusedError("paths")
        if entry.flag_bits & 1:
            raise RefusedError("locked")
    unpacked = sum(entry.file_size for entry in entries)
    packed = max(1, os.fstat(source.fileno()).st_size)
    # A small file may well shrink a hundredfold; a big one that does is made for it.
    if unpacked > MAX_UNPACKED or (unpacked > 1 << 20 and unpacked > packed * MAX_RATIO):
        raise RefusedError("bomb")
    names = {entry.filename for entry in entries}
    found = [kind for name, kind in OFFICE.items() if name in names]
    if len(found) != 1 or len(names) != len(entries):
        raise RefusedError("kind")
    return found[0]


def _converted(source: BinaryIO, ending: str, media_type: str) -> str:
    try:
        from markitdown import StreamInfo, converters  # noqa: PLC0415 (two seconds, and may be absent)
    except ImportError:
        raise RefusedError("unavailable") from None
    # One converter, named: nothing guesses, and none of those that ask the network is made.
    made = {
        ".pdf": converters.PdfConverter,
        ".docx": converters.DocxConverter,
        ".xlsx": converters.XlsxConverter,
        ".pptx": converters.PptxConverter,
        ".html": converters.HtmlConverter,
    }[ending]()
    info = StreamInfo(extension=ending, mimetype=media_type)
    source.seek(0)
    return str(made.convert(source, info).text_content)


def _draw(source: BinaryIO, media_type: str, picture: BinaryIO) -> None:
    """Make the picture that a model sees: smaller, of one frame, without what a camera added."""
    from PIL import Image, ImageOps  # noqa: PLC0415 (documents need neither)

    # The header alone says how large it is; nothing is decoded before that is known.
    try:
        image = Image.open(source, formats=[media_type.removeprefix("image/").upper()])
    except Image.DecompressionBombError:
        raise RefusedError("pixels") from None
    with image as opened:
        width, height = opened.size
        if width * height > MAX_PIXELS:
            raise RefusedError("pixels")
        if opened.format == "JPEG":
            opened.draft("RGB", (PICTURE_EDGE, PICTURE_EDGE))
        upright = ImageOps.exif_transpose(opened)
        upright.thumbnail((PICTURE_EDGE, PICTURE_EDGE))
        # What shines through becomes white, as on paper.
        shines = "A" in upright.mode or "transparency" in upright.info
        drawn = upright.convert("RGBA" if shines else "RGB")
    flat = Image.new("RGB", drawn.size, "white")
    flat.paste(drawn, mask=drawn if shines else None)
    if media_type != "image/jpeg":
        flat.save(picture, "PNG", optimize=False)
        picture.flush()
        if os.fstat(picture.fileno()).st_size <= PNG_BYTES:
            return
        picture.seek(0)
        picture.truncate()
    flat.save(picture, "JPEG", quality=85)
    picture.flush()


if __name__ == "__main__":
    main()
