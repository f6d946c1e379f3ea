"""Writes Microsoft's compound files, such as Outlook's messages, from streams and storages."""

import struct
from collections.abc import Mapping
from itertools import count

SECTOR = 512
MINIMUM = 4096  # smaller streams lie in another place; these are filled up instead
_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
_STORAGE, _STREAM, _ROOT = 1, 2, 5

Folder = Mapping[str, "bytes | Folder"]


def compound(content: Folder) -> bytes:
    """Return a compound file.

    Args:
        content: Streams and storages by their names.
    """
    entries: list[list[object]] = []  # name, kind, right, child, bytes
    _add(entries, "Root Entry", content, _ROOT)
    sectors: list[bytes] = []
    fat: list[int] = []

    def put(data: bytes) -> int:
        first = len(fat)
        pieces = [data[at : at + SECTOR].ljust(SECTOR, b"\0") for at in range(0, len(data), SECTOR)]
        sectors.extend(pieces)
        fat.extend([*range(first + 1, first + len(pieces)), _END])
        return first

    records = []
    for name, kind, right, child, data in entries:
        start, size = (put(data), len(data)) if isinstance(data, bytes) else (_END, 0)
        encoded = f"{name}\0".encode("utf-16-le")
        records.append(
            struct.pack("<64sHBBIII", encoded, len(encoded), kind, 1, _FREE, right, child)
            + bytes(36)
            + struct.pack("<IQ", start, size)
        )
    while len(records) % 4:
        records.append(bytes(68) + struct.pack("<III", _FREE, _FREE, _FREE) + bytes(48))
    directory = put(b"".join(records))
    tables = next(n for n in count(1) if n * (SECTOR // 4) >= len(fat) + n)
    places = range(len(fat), len(fat) + tables)
    fat += [_FAT] * tables
    fat += [_FREE] * (tables * (SECTOR // 4) - len(fat))
    head = struct.pack(
        "<8s16sHHHHH6xIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"",
        *(0x3E, 3, 0xFFFE, 9, 6),
        *(0, tables, directory, 0, MINIMUM, _END, 0, _END, 0),
    )
    difat = struct.pack("<109I", *places, *[_FREE] * (109 - tables))
    return head + difat + b"".join(sectors) + struct.pack(f"<{len(fat)}I", *fat)


def _add(entries: list[list[object]], name: str, content: "bytes | Folder", kind: int) -> int:
    at = len(entries)
    entries.append([name, kind, _FREE, _FREE, None])
    if isinstance(content, bytes):
        entries[at][4] = content.ljust(MINIMUM, b"\0")
        return at
    before = None
    for inner, value in content.items():
        child = _add(entries, inner, value, _STREAM if isinstance(value, bytes) else _STORAGE)
        if before is None:
            entries[at][3] = child
        else:
            entries[before][2] = child
        before = child
    return at


def outlook_message(
    texts: Mapping[str, str],
    *,
    code_page: int | None = None,
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return an Outlook message.

    Args:
        texts: Texts by the numbers of their properties, such as "0037" for the subject.
        code_page: That of the texts; they are in UTF-16 without one.
        files: Attached files by name.
    """
    kind = "001F" if code_page is None else "001E"
    encoding = "utf-16-le" if code_page is None else f"cp{code_page}"
    properties = bytes(32)
    if code_page is not None:
        properties += struct.pack("<IIQ", 0x3FFD0003, 6, code_page)
    content: dict[str, bytes | Folder] = {"__properties_version1.0": properties}
    content |= {
        f"__substg1.0_{number}{kind}": text.encode(encoding) for number, text in texts.items()
    }
    for at, (name, data) in enumerate((files or {}).items()):
        content[f"__attach_version1.0_#{at:08X}"] = {
            "__properties_version1.0": bytes(8),
            "__substg1.0_3707001F": name.encode("utf-16-le"),
            "__substg1.0_37010102": data,
        }
    return compound(content)
