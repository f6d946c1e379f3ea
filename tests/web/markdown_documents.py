"""Random Markdown documents, and random ways to cut them into the pieces of a stream."""

import random
from collections.abc import Callable

WORDS = (
    "alpha", "beta-gamma", "delta", "**bold**", "*em*", "`code`", "~~gone~~", "~5", "$5", "$x+y$", "\\(a_1\\)", "слово",
    "“重要”", "**“重要”**是", "שלום", "مرحبا", "List<String>", "<b>x</b>", "&amp;", "https://example.com/a_(b)", "[link](https://a.example)",
    "[ref]", "[other][ref]", "![p](https://a.example/p.png)", "\\*", "snake_case_word", "a*b*c", "__init__", "2*3*4", "**open", "`tick", "[half](htt",
    "$$z^2$$", "\\[q\\]", "1.", "-", "#", "|", "🏴\U000e0067\U000e0062\U000e007f", "\u202eflip", "👩‍💻", "e\u0301", "tab\there",
)  # fmt: skip
LANGUAGES = ("python", "js", "", "nosuch", "text title", "c++")
LINES = (
    "x = 1  # one",
    "\tif a < b:",
    "",
    "- no list",
    "$$",
    "| a | b |",
    "# not",
    "  deep",
    "[ref]: https://no",
)
FORMULA = ("x = 1", "- 2", "\\frac{a}{b}", "= c", "a & b \\\\", "text")


def inline(rng: random.Random, most: int = 12) -> str:
    """Return a line of words."""
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def _paragraph(rng: random.Random) -> str:
    return "\n".join(inline(rng) for _ in range(rng.randint(1, 3)))


def _heading(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return f"{inline(rng, 4)}\n{rng.choice(('---', '===', '-'))}"
    return f"{'#' * rng.randint(1, 6)} {inline(rng, 4)}"


def _fence(rng: random.Random) -> str:
    fence = rng.choice(("```", "~~~", "````"))
    lines = [rng.choice(LINES) for _ in range(rng.randint(0, 6))]
    return "\n".join(
        [fence + rng.choice(LANGUAGES), *lines, *([fence] if rng.random() < 0.9 else [])]
    )


def _formula(rng: random.Random) -> str:
    opener, closer = rng.choice((("$$", "$$"), ("\\[", "\\]")))
    lines = [rng.choice(FORMULA) for _ in range(rng.randint(1, 3))]
    return "\n".join([opener, *lines, *([closer] if rng.random() < 0.85 else [])])


def _table(rng: random.Random) -> str:
    columns = rng.randint(1, 4)
    rows = [" | ".join(inline(rng, 2) for _ in range(columns)) for _ in range(rng.randint(1, 5))]
    line = "|".join(rng.choice((":-:", "---", "--:")) for _ in range(columns))
    return "\n".join(f"| {row} |" for row in (rows[0], line, *rows[1:]))


def _list(rng: random.Random) -> str:
    marker = rng.choice(("-", "*", "1.", "7)", "- [x]", "- [ ]"))
    lines = []
    for number in range(rng.randint(1, 5)):
        mark = f"{number + 1}." if marker == "1." else marker
        lines.append(f"{mark} {inline(rng, 5)}")
        indent = " " * (len(mark.split(" ", maxsplit=1)[0]) + 1)
        if rng.random() < 0.4:
            inner = rng.choice(ANY)(rng)
            lines += [
                *([""] if rng.random() < 0.5 else []),
                *(indent + line for line in inner.split("\n")),
            ]
        if rng.random() < 0.2:
            lines.append("")
    return "\n".join(lines)


def _quote(rng: random.Random) -> str:
    return "\n".join(f"> {line}" for line in rng.choice(ANY)(rng).split("\n"))


def _other(rng: random.Random) -> str:
    return rng.choice(
        ("---", "***", "    indented code", "[ref]: https://ref.example 'title'", "[ref]:\nhttps://two.example", "<div>\nhtml\n</div>",
         "<!-- comment -->", "[^1]: note", "text\n- list at once", "word\n| a |\n|---|\n| b |", "* * *", "+", "&nbsp;")
    )  # fmt: skip


ANY: tuple[Callable[[random.Random], str], ...] = (
    _paragraph, _paragraph, _heading, _fence, _formula, _table, _list, _list, _quote, _other,
)  # fmt: skip


def document(rng: random.Random) -> str:
    """Return a document of a few blocks, some without a blank line between them."""
    text = ""
    for _ in range(rng.randint(1, 9)):
        text += rng.choice(ANY)(rng) + rng.choice(
            ("\n\n", "\n\n", "\n\n", "\n", "\n\n\n", "\n \n", "\r\n\r\n")
        )
    return text if rng.random() < 0.5 else text.rstrip()


def pieces(rng: random.Random, text: str) -> list[str]:
    """Cut a text at random places: into single characters, words, or long pieces."""
    most = rng.choice((1, 4, 12, 60))
    found, at = [], 0
    while at < len(text):
        size = rng.randint(1, most)
        found.append(text[at : at + size])
        at += size
    return found
