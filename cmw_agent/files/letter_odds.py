"""How likely people write a letter, as the logarithm of its probability, by family of encodings."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

ODD = -14.0  # a character that nobody would write in such a text
_RARE = -9.5
_TURN = -6.0  # for a change of alphabet or case within a word
_SYMBOLS: Final = frozenset("€“”„‘’‚«»–—…•°§©®™№£¥×±·¿¡ªº½¼²³\u00a0")
_ASCII: Final = -3.2
_SLOPE: Final = 0.11  # by which each letter is rarer than the one before

# The letters of a language from frequent to rare.
RUSSIAN: Final = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщёэфъ"
_LETTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cp1251": RUSSIAN + "ієїґў",
        "koi8_r": RUSSIAN,
        "koi8_u": RUSSIAN + "ієїґ",
        "cp866": RUSSIAN + "іїєў",
        "iso8859_5": RUSSIAN + "іїєў",
        "mac_cyrillic": RUSSIAN + "іїєґў",
        "cp1252": "éäöüàèçñóíáêãßåøæúôâîëïœùÿìòðûõ",
        "iso8859_15": "éäöüàèçñóíáêãßåøæúôâîëïœùÿìòðûõšž",
        "mac_roman": "éäöüàèçñóíáêãßåøæúôâîëïœùÿìòûõ",
        "cp850": "éäöüàèçñóíáêãßåøæúôâîëïùÿìòûõ",
        "cp1250": "áéíóöüőűąęłśżćńźýěščřžůúťďňäăâîșşţôľĺŕđ",
        "iso8859_2": "áéíóöüőűąęłśżćńźýěščřžůúťďňäăâîșşţôľĺŕđ",
        "cp852": "áéíóöüőűąęłśżćńźýěščřžůúťďňäăâîşţôľĺŕđ",
        "cp1253": "αοιετσνηυρπκμλςωγδθφβχξζψάέίόύήώϊϋ",
        "cp1254": "ışğüöçâîû",
        "cp1255": "יוהלאתרבמשנדחקעפגטסכזצםןךףץ",
        "cp1256": "اليمنوتربعدهسفكقحجشخصطضذزثظغةىءأإآؤئپچژگی",
        "cp1257": "āēīūšžčģķļņąęėįųõäöü",
        "cp874": "านรกอเงมยลวดทสตะปบคหแจพชขใไโผศษธฟถฐณญซภฉ่้ัิีุู์็ึ๊๋ำ",
    }
)
# Encodings of whole alphabets: their letters make up a text, where those of the others stand between ASCII.
_WHOLE: Final = frozenset(
    {
        "cp1251",
        "koi8_r",
        "koi8_u",
        "cp866",
        "iso8859_5",
        "mac_cyrillic",
        "cp1253",
        "cp1255",
        "cp1256",
        "cp874",
    }
)
# Encodings that are seldom met, or that read nearly any bytes: these must be likelier than others by so much.
_SELDOM: Final[Mapping[str, float]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("iso8859_5", "iso8859_15", "mac_cyrillic", "mac_roman", "cp850", "cp852"), -4.0
        ),
        **dict.fromkeys(("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874"), -4.0),
        **dict.fromkeys(("cp866", "cp949", "big5hkscs", "cp1250", "iso8859_2"), -1.5),
        "koi8_u": -4.0,
    }
)
# The characters that make up about half of all written ones.
_CHINESE: Final = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"
    "姓名城省县京号码地址价格元合同签单位数量金额日期商品客户电话张李王刘陈杨赵黄周吴广州深圳订货你好测试"
)
_TAIWANESE: Final = frozenset(
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情明性知全三又關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己制身果加西月話合回特代內信表化老給世位次度門任常先海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活更別打女變四神總何電數安少報"
    "姓名城市省縣號碼地址價格元合約簽單位數量金額期商品客戶話張李王劉陳楊趙黃周吳臺灣北臺測試您"
)
_JAPANESE: Final = frozenset(
    "日一国人年大十二本中長出三時行見月分後前生五間上東四今金九入学高円子外八六下来気小七山話女北午百書先名川千水半男西電校語土木聞食車何南万毎白天母火右読友左休父雨会同事自社発者地業方新場員立開手力問代明動京目通言理体田主題意不作用度強公持野以思家世多正安院心界教文元重近考画海売知道集別物使品計死特私始朝運終台広住無真有口少町料工建空急止送切転研足究楽起着店病質待試族銀早映親験英医仕去味写字答夜音注帰古歌買悪図週室歩風紙黒花春赤青館屋色走秋夏習駅洋旅服夕借曜飲肉貸堂鳥飯勉冬昼茶弟牛魚兄犬妹姉漢"
    "契約書価格名前都市県区号番住所氏電話数量金額単商客様鈴佐藤高橋渡辺伊村林斎清松井加吉阪神横浜試験"
)


_KOREAN: Final = frozenset(
    "이다는의을에가고한하를은지도로사기인서대자시나어리아그만정일수부해스보것들있라제면전장공원성주구여신문조상게무경동국비세생관소유선실화중연교회방되요입니까과와적안계약위진여러분발행말물마내오미통물법미우모르개금치습반트용명년월후천강남북서울김박최민할함합했된였영학업체식품호번름소값량격녕십억테험"
)


def likelihood(text: str, encoding: str) -> float:
    """Return the logarithm of the probability that people wrote a text.

    Args:
        text: As the encoding reads it.
        encoding: Says which language's letters are expected.
    """
    odds = _FAMILIES.get(encoding, _any_language)
    total, before = _SELDOM.get(encoding, 0.0), " "
    for character in text:
        total += _ASCII if character < "\x80" else odds(character)
        if character.isalpha():
            total += _joined(before, character)
        before = character
    return total


def _joined(before: str, character: str) -> float:
    """Return what it costs that a letter stands behind a character."""
    if character.isupper() and character > "\x7f" and not before.isupper():
        return _TURN if before.islower() else -1.5
    if not before.isalpha():
        return _TURN if before in "£¥³²¹¼½¾±¶¦¤¢»©®" else 0.0
    if before.islower() and character.isupper():
        return _TURN
    if (before < "\x80") != (character < "\x80") and max(before, character) >= "\u0250":
        return _TURN  # a letter of another alphabet in a Latin word
    if "\x80" <= before < "\u0250" and "\x80" <= character < "\u0250":
        return _TURN / 3  # letters with accents are seldom neighbours
    return 0.0


def _of_alphabet(ranks: Mapping[str, float], character: str) -> float:
    if character in _SYMBOLS:
        return -5.0
    odds = ranks.get(character.lower())
    if odds is None:
        return ODD if character in "\u00ad\u2030" or not character.isalpha() else _RARE
    return odds - (0.2 if character.isupper() else 0.0)


def _ranks(letters: str, *, is_whole: bool) -> Mapping[str, float]:
    """Return odds by letter, from frequent to rare."""
    first = -2.4 if is_whole else -2.9
    return {letter: first - _SLOPE * rank for rank, letter in enumerate(letters)}


def _chinese(encoding: str, frequent: frozenset[str], last_lead: int, character: str) -> float:
    if character in frequent:
        return -5.6
    if "\u4e00" <= character <= "\u9fff":
        try:
            lead = character.encode(encoding)[0]
        except UnicodeEncodeError:
            return ODD - 2
        return -9.5 if lead <= last_lead else ODD
    return _east_asian_sign(character)


def _japanese(character: str) -> float:
    if "\u3041" <= character <= "\u30fc":
        return -4.4
    if character in _JAPANESE:
        return -5.6
    if "\u4e00" <= character <= "\u9fff":
        try:
            return -9.0 if character.encode("euc_jp")[0] <= 0xCF else ODD
        except UnicodeEncodeError:
            return ODD - 2
    if "\uff61" <= character <= "\uff9f":
        return _RARE  # kana of half a width: one byte each
    return _east_asian_sign(character)


def _korean(character: str) -> float:
    if "\uac00" <= character <= "\ud7a3":
        try:
            character.encode("euc_kr")
        except UnicodeEncodeError:
            return ODD  # one of the syllables that hardly a word has
        return -5.0 if character in _KOREAN else -7.6
    if "\u4e00" <= character <= "\u9fff":
        return ODD
    return _east_asian_sign(character)


def _east_asian_sign(character: str) -> float:
    if character in "、。，：；？！「」『』（）《》〈〉【】・～ー·—…　“”‘’":
        return -5.0
    if "\uff01" <= character <= "\uff5e" or "\u2460" <= character <= "\u24ff":
        return -8.5
    return ODD


def _any_language(character: str) -> float:
    """Return the odds in Unicode's own encodings, which hold all languages."""
    best = max(odds(character) for odds in _FAMILIES.values())
    return best - 1.0


_FAMILIES: Final[Mapping[str, Callable[[str], float]]] = MappingProxyType(
    {
        name: partial(_of_alphabet, _ranks(letters, is_whole=name in _WHOLE))
        for name, letters in _LETTERS.items()
    }
    | {
        "gb18030": partial(_chinese, "gb2312", _CHINESE, 0xD7),
        "big5hkscs": partial(_chinese, "big5", _TAIWANESE, 0xC6),
        "cp932": _japanese,
        "euc_jp": _japanese,
        "cp949": _korean,
    }
)
