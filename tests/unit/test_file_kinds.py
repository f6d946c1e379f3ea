"""Each kind of file gives its text or its pictures, and says what was not read of it."""

import io
from email.message import EmailMessage
from pathlib import Path

import openpyxl  # type: ignore[import-untyped]
import pillow_heif
import pytest
from PIL import Image

from cmw_agent.files.extraction import FileRefusedError
from cmw_agent.files.notes import sentence_of
from cmw_agent.files.reading import readers
from cmw_agent.files.reading.document import Source
from cmw_agent.files.sniffing import HEAD, detect, refusal_of
from tests import papers
from tests.compound_files import outlook_message
from tests.extracting import DOCUMENTS, read

LETTER = "Покупатель ООО «Ромашка» принимает товар № 17."


def one_line(text: str) -> str:
    return " ".join(text.replace("\xa0", " ").split())


@pytest.mark.parametrize("name", ["letter.odt", "letter.rtf", "letter.docx", "book.epub"])
async def test_a_letter_is_read_in_each_form(tmp_path: Path, name: str) -> None:
    done = await read(tmp_path, (DOCUMENTS / name).read_bytes(), name)
    assert "Договор поставки" in done.text
    assert LETTER in one_line(done.text)
    assert all(word in done.text for word in ("Товар", "Цена", "Стол", "1500"))
    assert not done.note


@pytest.mark.parametrize("name", ["table.ods", "table.xlsx"])
async def test_a_workbook_is_read_as_tables(tmp_path: Path, name: str) -> None:
    done = await read(tmp_path, (DOCUMENTS / name).read_bytes(), name)
    assert "| Товар | Цена | Сумма |\n| --- | --- | --- |\n| Стол | 1500 | 3000 |" in done.text


async def test_slides_of_open_document_are_read_one_by_one(tmp_path: Path) -> None:
    done = await read(tmp_path, (DOCUMENTS / "slides.odp").read_bytes(), "slides.odp")
    assert done.text == "## Slide 1\n\nПлан на год"


LOCKED = ("docx", "xlsx", "odt", "ods", "odp", "pdf", "zip")


@pytest.mark.parametrize("ending", LOCKED)
async def test_a_locked_document_is_called_locked(tmp_path: Path, ending: str) -> None:
    content = (DOCUMENTS / f"locked.{ending}").read_bytes()
    with pytest.raises(FileRefusedError, match="locked with a password; please remove it") as told:
        await read(tmp_path, content, f"locked.{ending}")
    assert told.value.reason == "locked"


@pytest.mark.parametrize("ending", ["doc", "xls"])
async def test_a_locked_document_of_the_old_form_is_called_locked(
    tmp_path: Path, ending: str
) -> None:
    content = bytearray(
        (DOCUMENTS / {"doc": "letter.doc", "xls": "table.xls"}[ending]).read_bytes()
    )
    if ending == "doc":
        flags = content.index(b"\xec\xa5") + 10  # of the stream "WordDocument"
        content[flags + 1] |= 1
    else:
        record = content.index(b"\x09\x08\x10\x00\x00\x06\x05\x00") + 20  # behind the first record
        content[record : record + 2] = b"\x2f\x00"
    with pytest.raises(FileRefusedError) as told:
        await read(tmp_path, bytes(content), f"a.{ending}")
    assert told.value.reason == "locked"


@pytest.mark.parametrize("encoding", ["cp1251", "koi8_r", "utf-16-le", "utf-16"])
async def test_a_text_in_an_old_encoding_is_read_and_the_guess_told(
    tmp_path: Path, encoding: str
) -> None:
    text = "Имя;Город\nИван;Москва\nПётр;Казань"
    for name in ("a.txt", "a.csv"):
        done = await read(tmp_path, text.encode(encoding), name)
        assert done.text == text
        assert ("was guessed" in done.note) == (encoding != "utf-16")


async def test_a_page_is_read_by_its_declared_encoding_or_by_its_real_one(tmp_path: Path) -> None:
    page = "<html><head><meta charset={}></head><body><p>Привет, мир</p></body></html>"
    for declared, real in (("koi8-r", "koi8-r"), ("utf-8", "cp1251"), ("nonsense", "cp1251")):
        done = await read(tmp_path, page.format(declared).encode(real), "a.html")
        assert done.text == "Привет, мир", (declared, real)


async def test_broken_letters_are_counted_and_all_others_read(tmp_path: Path) -> None:
    text = "Договор поставки. " * 50
    done = await read(tmp_path, text.encode() + b"\xff" + "конец".encode(), "a.txt")
    assert done.text.startswith(text)
    assert done.text.endswith("конец")
    assert done.note == "1 character of it is damaged."


def mail() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Иван Петров <ivan@example.com>"
    message["To"] = "anna@example.com"
    message["Subject"] = "Договор"
    message["Date"] = "Wed, 02 Jan 2030 12:00:00 +0000"
    message["Message-ID"] = "<1@example.com>"
    message.set_content("Добрый день, Анна.", charset="koi8-r")
    message.add_alternative("<p>Добрый день, <b>Анна</b>.</p>", subtype="html")
    return message


async def test_an_e_mail_is_read_with_its_head_and_its_attached_documents(tmp_path: Path) -> None:
    message = mail()
    word = papers.word("attached needle")
    message.add_attachment(
        word, maintype="application", subtype="octet-stream", filename="договор.docx"
    )
    message.add_attachment(papers.picture(), maintype="image", subtype="png", filename="photo.png")
    done = await read(tmp_path, bytes(message), "letter.eml")
    assert done.media_type == "message/rfc822"
    assert done.text.startswith(
        "From: Иван Петров <ivan@example.com>\nTo: anna@example.com\n"
        "Date: Wed, 02 Jan 2030 12:00:00 +0000\nSubject: Договор\n\nДобрый день, Анна."
    )
    assert done.text.count("Добрый день") == 1
    assert "[Attached file: договор.docx" in done.text
    assert "attached needle" in done.text
    assert "photo.png, 125 bytes; it was not read]" in done.text
    assert done.note == "1 file attached to it was not read."


async def test_an_e_mail_is_known_by_its_fields_and_read_in_raw_letters(tmp_path: Path) -> None:
    raw = (
        "Message-ID: <1@example.com>\r\nFrom: ivan@example.com\r\nSubject: Отчёт за май\r\n\r\n"
        "Отчёт готов, смотрите вложение.\r\n"
    ).encode("cp1251")
    done = await read(tmp_path, raw, "no ending")
    assert done.media_type == "message/rfc822"
    assert "Subject: Отчёт за май" in done.text
    assert "Отчёт готов, смотрите вложение." in done.text


async def test_an_e_mail_that_is_a_page_alone_is_read_without_its_markup(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"] = "a@example.com"
    message.set_content("<p>Only <b>HTML</b></p>", subtype="html")
    done = await read(tmp_path, bytes(message), "a.eml")
    assert done.text.endswith("Only **HTML**")


@pytest.mark.parametrize("code_page", [None, 1251])
async def test_a_message_of_outlook_is_read(tmp_path: Path, code_page: int | None) -> None:
    content = outlook_message(
        {
            "0037": "Договор",
            "0C1A": "Иван Петров",
            "5D01": "ivan@example.com",
            "0E04": "Анна",
            "1000": "Добрый день, Анна.",
        },
        code_page=code_page,
        files={"договор.docx": papers.word("attached needle"), "photo.png": papers.picture()},
    )
    done = await read(tmp_path, content, "letter.msg")
    assert done.media_type == "application/vnd.ms-outlook"
    assert done.text.startswith(
        "From: Иван Петров <ivan@example.com>\nTo: Анна\nSubject: Договор\n\nДобрый день, Анна."
    )
    assert "attached needle" in done.text
    assert done.note == "1 file attached to it was not read."


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "TIFF", "BMP", "TIFF of 16 bits"])
async def test_a_picture_of_each_kind_becomes_one_that_models_see(
    tmp_path: Path, kind: str
) -> None:
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    if kind == "TIFF of 16 bits":
        Image.new("I;16", (300, 200), 40_000).save(out, "TIFF")
    else:
        Image.new("RGB", (300, 200), (200, 30, 30)).save(out, kind)
    done = await read(tmp_path, out.getvalue(), "photo.jpg")
    (picture,) = done.pictures
    with Image.open(io.BytesIO(picture)) as image:
        assert image.size == (300, 200)
        red = image.convert("RGB").getpixel((150, 100))
    assert isinstance(red, tuple)
    assert abs(red[0] - (156 if kind == "TIFF of 16 bits" else 200)) < 12


async def test_the_pages_of_a_scan_become_pictures(tmp_path: Path) -> None:
    page = Image.new("RGB", (600, 800), "white")
    pages = [page.copy() for _ in range(11)]
    for kind, note in (
        ("TIFF", "Models are shown only the first 10 of its 12 pictures."),
        ("PDF", "12 of its 12 pages have no text, as in a scan"),
    ):
        out = io.BytesIO()
        page.save(out, kind, save_all=True, append_images=pages)
        done = await read(tmp_path, out.getvalue(), f"scan.{kind.lower()}")
        assert len(done.pictures) == 10
        assert note in done.note


async def test_a_document_without_words_says_so_and_shows_its_pictures(tmp_path: Path) -> None:
    done = await read(tmp_path, papers.word(""), "empty.docx")
    assert done.note == "No text was found in it, so models read nothing of it."
    done = await read(tmp_path, papers.word_with_picture(""), "scan.docx")
    assert len(done.pictures) == 1
    assert done.note == "It has no text; models that see are shown 1 of its 1 pictures."
    done = await read(tmp_path, papers.word_with_picture("words"), "both.docx")
    assert done.note == "1 picture in it was not read."


async def test_headers_and_footers_of_a_document_are_read(tmp_path: Path) -> None:
    done = await read(
        tmp_path, papers.word_with_margins("body", "CONFIDENTIAL", "page foot"), "a.docx"
    )
    assert done.text.startswith("body")
    assert "[Header] CONFIDENTIAL" in done.text
    assert "[Footer] page foot" in done.text


async def test_a_large_sheet_is_given_by_a_summary_and_its_first_rows(tmp_path: Path) -> None:
    workbook, out = openpyxl.Workbook(write_only=True), io.BytesIO()
    sheet = workbook.create_sheet("Sales")
    sheet.append(["City", "Price"])
    for number in range(1, 5_001):
        sheet.append([f"City {number % 7}", number])
    workbook.save(out)
    table = "City,Price\n" + "".join(f"City {n % 7},{n}\n" for n in range(1, 30_001))
    for content, name, rows in (
        (out.getvalue(), "a.xlsx", 5_000),
        (table.encode(), "a.csv", 30_000),
    ):
        done = await read(tmp_path, content, name)
        assert f"{rows + 1:,} rows and 2 columns" in done.text
        assert f"- City: {rows:,} values, for example City 1; City 2" in done.text
        total = f"{rows * (rows + 1) // 2:.12g}"
        assert (
            f"- Price: {rows:,} values, {rows:,} numbers from 1 to {rows}, sum {total}" in done.text
        )
        assert "| City 1 | 1 |" in done.text
        assert len(done.text) < 30_000
        assert done.note == "1 large table is given as a summary and its first rows."


def test_a_table_that_takes_too_long_has_its_first_rows_and_says_so() -> None:
    workbook, out = openpyxl.Workbook(write_only=True), io.BytesIO()
    sheet = workbook.create_sheet("Sales")
    for number in range(500):
        sheet.append([f"City {number}", number])
    workbook.save(out)
    office = "application/zip"
    table = b"".join(b"City %d,%d\n" % (n, n) for n in range(30_000))
    for content, media_type in ((out.getvalue(), office), (table, "text/csv")):
        done = readers.read(Source(io.BytesIO(content), media_type, deadline=0.0))
        assert "200 rows and more" in done.text
        assert "City 199" in done.text
        note = sentence_of(" ".join(done.notes)) or ""
        assert note.endswith("There was no time for all rows of 1 of them.")


async def test_a_formula_without_a_stored_result_stands_as_a_formula(tmp_path: Path) -> None:
    workbook, out = openpyxl.Workbook(), io.BytesIO()
    workbook.active.append(["a", "b", "sum"])
    workbook.active.append([1, 2, "=A2+B2"])
    workbook.save(out)
    done = await read(tmp_path, out.getvalue(), "a.xlsx")
    assert "| 1 | 2 | =A2+B2 |" in done.text
    assert done.note == "1 formula has no stored result and stands as a formula."


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"#!AMR\n" + bytes(40), "audio/amr"),
        (b"#!AMR-WB\n" + bytes(40), "audio/amr"),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(40), "audio/aac"),
        (b"\xff\xf9\x50\x80\x02\x1f\xfc" + bytes(40), "audio/aac"),
        (b"\0\0\0\x1cftypM4A " + bytes(20), "audio/mp4"),
    ],
)
def test_recordings_of_phones_are_known_by_their_first_bytes(head: bytes, media_type: str) -> None:
    found = detect(head[:HEAD], "voice")
    assert found is not None
    assert (found.kind, found.media_type) == ("audio", media_type)


@pytest.mark.parametrize(
    "head", [b"7z\xbc\xaf\x27\x1c\0\4", b"Rar!\x1a\x07\1\0", b"\x1f\x8b\x08\0", b"BZh91AY&SY\0"]
)
async def test_an_archive_is_to_be_unpacked_first(tmp_path: Path, head: bytes) -> None:
    assert detect(head, "a.docx") is None
    assert refusal_of(head) == "archive"
    assert "please unpack this one" in str(FileRefusedError("archive"))
    with pytest.raises(FileRefusedError, match="please unpack this one"):
        await read(tmp_path, papers.zipped({"a.txt": b"x"}), "a.zip")


async def test_documents_of_apple_s_programs_say_how_to_send_them(tmp_path: Path) -> None:
    with pytest.raises(FileRefusedError, match="export this one as PDF"):
        await read(tmp_path, papers.zipped({"Index/Document.iwa": b"x"}), "a.pages")
