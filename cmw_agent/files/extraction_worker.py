"""Worker process that reads one file: `python -m cmw_agent.files.extraction_worker`.

It has no settings and no secrets, opens no connection, and writes one JSON object to its
standard output: ``media_type`` and ``text``, or ``refused`` with a reason. The file may be
hostile, so the caller trusts nothing that this process does. It opens the file, and the picture
to write, before it enters the sandbox; from then on it can open nothing but the interpreter and
its libraries.
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
# Shared libraries, media types, time zones, fonts; capabilities of the processor.
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
    """The file is refused; the argument is the reason, a key of `extraction.SENTENCES`."""


Reader = Callable[[BinaryIO, str, BinaryIO | None], dict[str, str]]


def main(read: Reader | None = None) -> None:
    """Read the job from standard input, process it in the sandbox and print the result.

    Args:
        read: Processes the file; a test of the sandbox passes a hostile function.
    """
    job = json.loads(sys.stdin.buffer.readline())
    # What libraries print must not get into the result.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limit_resources(job)
    sys.addaudithook(forbid)
    warnings.simplefilter("ignore")
    output.write(json.dumps(_result(job, read or _read)).encode())
    output.flush()
    # Ends without the threads and exit handlers of libraries.
    os._exit(0)


def _result(job: dict[str, Any], read: Reader) -> dict[str, str]:
    try:
        # Both are closed when the process ends.
        source, picture = _open_files(job)
        sandbox.enter(readable_paths())
        return read(source, job["media_type"], picture)
    except RefusedError as refused:
        return {"refused": str(refused)}
    except sandbox.SandboxError:
        return {"refused": "unavailable"}
    except MemoryError:
        return {"refused": "memory"}
    except Exception:  # noqa: BLE001 (a hostile file may cause any error in a library)
        return {"refused": "damaged"}


def _open_files(job: dict[str, Any]) -> tuple[BinaryIO, BinaryIO | None]:
    binary = getattr(os, "O_BINARY", 0)  # on Windows only
    source = os.fdopen(os.open(job["source"], os.O_RDONLY | binary), "rb")
    if not job["media_type"].startswith("image/"):
        return source, None
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | binary
    return source, os.fdopen(os.open(job["picture"], flags, 0o600), "w+b")


def readable_paths() -> Iterator[Path]:
    """Yield the folders and files of the interpreter and its libraries, and what these read."""
    # Not the whole folder of a checkout: the data folder and `.env` may be in it. An installed
    # app lies among the libraries, beside its own metadata.
    root = Path(__file__).resolve().parents[2]
    is_installed = any(root.glob("cmw_agent-*.dist-info"))
    yield root / "cmw_agent"
    for path in map(Path, filter(None, sys.path)):
        if is_installed or path.resolve() != root:
            yield path
    yield from (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    yield Path(sys.base_prefix, "lib")
    yield from map(Path, SYSTEM)


def limit_resources(job: dict[str, Any]) -> None:
    """Limit this process to the job's `megabytes`, `seconds` of CPU and bytes of `output`."""
    try:
        import resource  # noqa: PLC0415 (does not exist on Windows)
    except ImportError:  # Windows: the caller's time-out is the only limit
        return
    limits = {
        resource.RLIMIT_AS: job["megabytes"] << 20,
        resource.RLIMIT_CPU: job["seconds"],
        resource.RLIMIT_FSIZE: job["output"],
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        _, hard_limit = resource.getrlimit(kind)
        value = limit if hard_limit == resource.RLIM_INFINITY else min(limit, hard_limit)
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):  # macOS does not limit address space
            continue


def forbid(event: str, _arguments: tuple[object, ...]) -> None:
    """Audit hook that lets nothing use the network or begin a process."""
    if event in NO_NETWORK or event in NO_PROCESS:
        raise PermissionError(event)


def _read(source: BinaryIO, media_type: str, picture: BinaryIO | None) -> dict[str, str]:
    if picture is not None:
        _write_picture(source, media_type, picture)
        return {"media_type": media_type}
    if media_type == "application/zip":
        ending, media_type = _office_type(source)
        text = _convert(source, ending, media_type)
    elif media_type in ENDINGS:
        text = _convert(source, ENDINGS[media_type], media_type)
    else:
        text = _plain_text(source)
    text = text.replace("\0", "").encode(errors="ignore").decode().strip()
    if len(text) > MAX_CHARS:
        text = text[:MAX_CHARS] + CUT_NOTE
    return {"media_type": media_type, "text": text}


def _plain_text(source: BinaryIO) -> str:
    max_bytes = MAX_CHARS * 4 + 4
    head = source.read(max_bytes)
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return head.decode(encoding)
    except UnicodeDecodeError as error:
        if len(head) == max_bytes and max_bytes - error.start < 4:  # cut within a character
            return head[: error.start].decode(encoding)
    return head.decode("cp1252", errors="replace")


def _office_type(source: BinaryIO) -> tuple[str, str]:
    """Return ending and media type of an office file, after checking that it is safe to unpack."""
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
    # A small file may expand a hundredfold; a large one that does is a decompression bomb.
    if unpacked > MAX_UNPACKED or (unpacked > 1 << 20 and unpacked > packed * MAX_RATIO):
        raise RefusedError("bomb")
    names = {entry.filename for entry in entries}
    types = [file_type for name, file_type in OFFICE.items() if name in names]
    if len(types) != 1 or len(names) != len(entries):
        raise RefusedError("kind")
    return types[0]


def _convert(source: BinaryIO, ending: str, media_type: str) -> str:
    try:
        from markitdown import StreamInfo, converters  # noqa: PLC0415 (takes two seconds; optional)
    except ImportError:
        raise RefusedError("unavailable") from None
    # One converter by name: markitdown guesses no type and creates no converter with network use.
    converter = {
        ".pdf": converters.PdfConverter,
        ".docx": converters.DocxConverter,
        ".xlsx": converters.XlsxConverter,
        ".pptx": converters.PptxConverter,
        ".html": converters.HtmlConverter,
    }[ending]()
    info = StreamInfo(extension=ending, mimetype=media_type)
    source.seek(0)
    return str(converter.convert(source, info).text_content)


def _write_picture(source: BinaryIO, media_type: str, picture: BinaryIO) -> None:
    """Write the picture for models: scaled down, one frame, without metadata."""
    from PIL import Image, ImageOps  # noqa: PLC0415 (not needed for documents)

    # Opening reads only the header, so the size is checked before anything is decoded.
    try:
        image = Image.open(source, formats=[media_type.removeprefix("image/").upper()])
    except Image.DecompressionBombError:
        raise RefusedError("pixels") from None
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise RefusedError("pixels")
        if image.format == "JPEG":
            image.draft("RGB", (PICTURE_EDGE, PICTURE_EDGE))
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail((PICTURE_EDGE, PICTURE_EDGE))
        # Transparent parts become white.
        is_transparent = "A" in upright.mode or "transparency" in upright.info
        scaled = upright.convert("RGBA" if is_transparent else "RGB")
    flat = Image.new("RGB", scaled.size, "white")
    flat.paste(scaled, mask=scaled if is_transparent else None)
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
