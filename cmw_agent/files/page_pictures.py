"""Packs the pictures of one file, such as the pages of a scan, into one file for the data folder."""

from collections.abc import Sequence

_MAGIC = b"CMWP"
_SIZE_BYTES = 4
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"


def packed(pictures: Sequence[bytes]) -> bytes:
    """Return pictures as one file; a single one stays as it is."""
    if len(pictures) == 1:
        return pictures[0]
    sized = (len(picture).to_bytes(_SIZE_BYTES, "big") + picture for picture in pictures)
    return _MAGIC + b"".join(sized)


def unpacked(data: bytes) -> list[bytes]:
    """Return the pictures in a file that `packed` made; what is no picture is left out.

    Args:
        data: The file, which a worker wrote that may have been taken over.
    """
    if not data.startswith(_MAGIC):
        pictures = [data]
    else:
        pictures, at = [], len(_MAGIC)
        while at + _SIZE_BYTES <= len(data):
            start = at + _SIZE_BYTES
            at = start + int.from_bytes(data[at:start], "big")
            pictures.append(data[start:at])
    return [picture for picture in pictures if picture.startswith((_JPEG, _PNG))]
