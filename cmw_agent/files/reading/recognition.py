"""Recognises the text of pictures by Tesseract, where it is installed (the extra `ocr`)."""

import importlib.util
from pathlib import Path
from typing import Any

LANGUAGES = (
    "rus",
    "eng",
    "deu",
    "fra",
    "spa",
    "chi_sim",
    "jpn",
)  # that are looked for, in this order
EDGE = 2_400  # pixels of a page's longer edge, which small print needs
MAX_LANGUAGES = 3  # each further one takes as long again
FOLDERS = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
)


def is_available() -> bool:
    """Return whether texts can be recognised here."""
    return importlib.util.find_spec("tesserocr") is not None and bool(_languages())


def text_of(image: Any) -> str:
    """Return the text of a picture; empty where nothing can be recognised."""
    if not is_available():
        return ""
    import tesserocr  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 (an extra)

    return str(tesserocr.image_to_text(image, lang="+".join(_languages()), path=_folder())).strip()


def _folder() -> str:
    return next((folder for folder in FOLDERS if Path(folder).is_dir()), "")


def _languages() -> tuple[str, ...]:
    names = (name for name in LANGUAGES if Path(_folder(), f"{name}.traineddata").is_file())
    return tuple(names)[:MAX_LANGUAGES]
