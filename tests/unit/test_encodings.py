"""Texts in any encoding come back letter by letter, also where nothing says which one it is."""

import os

import pytest

from cmw_agent.files.encodings import begins_text, encoding_of

RUSSIAN = "Договор поставки от 3 мая: стол, 2 шт., 1500 руб. Покупатель — ООО «Ромашка».".replace(
    "—", "-"
)
TEXTS = {
    "Russian": (
        "Имя;Город;Сумма\nИван;Москва;100\nПётр;Казань;200\n",
        ["cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic"],
    ),
    "Russian sentence": (
        "Договор поставки от 3 мая: стол, 2 шт., 1500 руб.",
        ["cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic"],
    ),
    "Russian capitals": ("ДОГОВОР ПОСТАВКИ", ["cp1251", "koi8_r", "cp866", "iso8859_5"]),
    "one Russian word": ("Москва", ["cp1251", "koi8_r", "cp866"]),
    "Russian in a program": ("INSERT INTO t VALUES (1, 'Тест');", ["cp1251", "koi8_r", "cp866"]),
    "Ukrainian": ("Привіт, це ґанок і їжак", ["cp1251", "koi8_u"]),
    "Chinese": ("姓名,城市\n张三,北京\n", ["gbk", "gb18030"]),
    "Chinese sentence": (
        "根据双方协商，甲方同意将房屋出租给乙方使用，租期为两年。",
        ["gbk", "gb18030"],
    ),
    "Taiwanese": ("客戶姓名,電話\n王小明,0912\n", ["big5"]),
    "Japanese": ("名前,都市\n田中,東京\n", ["shift_jis", "euc_jp", "iso2022_jp"]),
    "Japanese sentence": (
        "本契約は、甲乙双方の合意に基づき締結される。",
        ["shift_jis", "euc_jp", "iso2022_jp"],
    ),
    "Korean": ("계약서\n가격은 천 원입니다. 감사합니다.", ["euc_kr"]),
    "German": ("Müller;Straße 5;Köln\nJäger;Weg 7;Düsseldorf\n", ["cp1252", "cp850"]),
    "French": (
        "Le théâtre était fermé; ils mangeaient des crêpes à l'hôtel.",
        ["cp1252", "mac_roman"],
    ),
    "Spanish": ("El niño comió una piña mañana", ["cp1252"]),
    "Polish": ("Łódź;Kraków;Gdańsk\nWrocław;Poznań\n", ["cp1250", "iso8859_2"]),
    "Czech": ("Příliš žluťoučký kůň úpěl ďábelské ódy", ["cp1250", "iso8859_2"]),
    "Hungarian": ("Árvíztűrő tükörfúrógép", ["cp1250"]),
    "Turkish": ("İstanbul'da güneşli bir gün; çalışıyoruz.", ["cp1254"]),
    "Greek": ("Αυτό είναι ένα συμβόλαιο. Η τιμή είναι 1500 ευρώ.", ["cp1253"]),
    "Hebrew": ("זהו חוזה אספקה מספר 12 מיום 3 במאי.", ["cp1255"]),
    "Arabic": ("مرحبا بالعالم، هذا عقد", ["cp1256"]),
    "Thai": ("สวัสดีชาวโลก", ["cp874"]),
    "signs": ("Preis: 50 € – “gut”, 20°C, § 5", ["cp1252"]),
}
UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_read_as_it_was_written(name: str) -> None:
    text, encodings = TEXTS[name]
    for encoding in (*encodings, *UNICODE):
        found = encoding_of(text.encode(encoding))
        assert found is not None, encoding
        assert text.encode(encoding).decode(found).removeprefix("\ufeff") == text, encoding
        assert begins_text(text.encode(encoding)) is not None, encoding


def test_a_long_text_is_told_by_the_lines_that_are_not_ascii() -> None:
    text = "id;value\n" * 5_000 + RUSSIAN
    assert encoding_of(text.encode("cp1251")) == "cp1251"
    assert encoding_of(text.encode("koi8_r", "ignore")) == "koi8_r"


def test_a_text_in_utf_8_with_a_broken_byte_is_no_other_encoding() -> None:
    assert encoding_of(RUSSIAN.encode() + b"\xff" + RUSSIAN.encode()) == "utf-8"


def test_only_the_beginning_of_a_text_may_end_within_a_character() -> None:
    cut = RUSSIAN.encode()[:-2][:-1]
    assert encoding_of("Он".encode()[:-1] * 1 + b"", is_whole=False) == "utf-8"
    assert encoding_of(cut, is_whole=False) == "utf-8"
    assert encoding_of("needle ä".encode("cp1252")) == "cp1252"


def test_bytes_that_are_no_text_have_no_encoding() -> None:
    for _ in range(50):
        noise = bytes(1) + os.urandom(400)
        assert encoding_of(noise) is None
        assert begins_text(noise) is None
    assert begins_text(b"\x7fELF\x02\x01\x01" + bytes(9)) is None
