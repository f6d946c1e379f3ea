"""The server's texts in the reader's language: errors, notes, commands, recurring tasks, exports, WhatsApp."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cmw_agent
from cmw_agent.channels.whatsapp.approval_text import question
from cmw_agent.chat.commands import COMMANDS, command_of
from cmw_agent.chat.turn import Command
from cmw_agent.conversations.importing.records import ImportLimits
from cmw_agent.conversations.importing.report import FAILURES, NOTES, REASONS, ImportReport
from cmw_agent.core.errors import UserError
from cmw_agent.core.finish_reasons import SENTENCES, sentence_for
from cmw_agent.files.extraction import SENTENCES as FILE_SENTENCES
from cmw_agent.language import Language, Wording, joined, languages, wordings
from cmw_agent.limits.limiter import OWNER_SENT, duration_text
from cmw_agent.llm.explanations import SENTENCES as MODEL_SENTENCES
from cmw_agent.runtime.scheduler import ENDED
from cmw_agent.schedules.recurrence import parse_crontab
from cmw_agent.schedules.words import WORDS
from cmw_agent.tools.approvals import PendingApproval
from tests.harness import Browser, canary, last_text, settings_for
from tests.isolation.world import app_with_model
from tests.rest import KEYS, client
from tests.service import all_events, answer_text, running_app, session_of

RUSSIAN = languages().of("ru")
SOURCE = Path(cmw_agent.__file__).parent
# Errors whose first argument is no text for a user.
NO_SENTENCES = frozenset({"SendError", "ComposioError"})


def error_classes() -> Iterator[type[UserError]]:
    for module in pkgutil.walk_packages(cmw_agent.__path__, "cmw_agent."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [UserError]
    for kind in found:
        found.extend(kind.__subclasses__())
        yield kind


def test_each_error_of_users_has_a_russian_sentence() -> None:
    for kind in error_classes():
        if kind.__module__.startswith("cmw_agent."):
            assert isinstance(kind.sentence, Wording), kind
            assert RUSSIAN.translate(kind.sentence) != kind.sentence, kind


def raised_texts() -> Iterator[tuple[str, ast.expr]]:
    """Yield the text that each raised user error is made with, where it is written there."""
    names = {kind.__name__ for kind in error_classes()} - NO_SENTENCES
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in names:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", node.args[0]


def test_no_error_is_raised_with_a_text_that_is_not_marked() -> None:
    assert [
        place
        for place, text in raised_texts()
        if isinstance(text, ast.JoinedStr)
        or (isinstance(text, ast.Constant) and " " in str(text.value))
    ] == []


@pytest.mark.parametrize(
    "texts",
    [SENTENCES, FILE_SENTENCES, MODEL_SENTENCES, FAILURES, NOTES, WORDS, {"ended": ENDED}],
)
def test_each_sentence_of_a_table_is_russian_too(texts: dict[str, Wording]) -> None:
    for text in texts.values():
        assert RUSSIAN.translate(text) != text


def test_reasons_and_commands_are_russian_too() -> None:
    for pair in REASONS.values():
        assert all(RUSSIAN.translate(text) != text for text in pair)
    for spec in COMMANDS.values():
        assert RUSSIAN.translate(spec.usage) != spec.usage
        assert RUSSIAN.translate(spec.help) != spec.help


def test_values_and_plural_forms_are_those_of_the_language() -> None:
    def sent(count: int) -> str:
        messages = wordings("{count} message", "{count} messages", count)
        return RUSSIAN.translate(OWNER_SENT.using(messages=messages, duration=duration_text(61)))

    assert sent(1) == "За минуту вы отправили 1 сообщение. Продолжите через 2 минуты."
    assert "3 сообщения." in sent(3)
    assert "5 сообщений." in sent(5)


def test_a_stored_english_text_is_shown_in_the_language_of_its_reader() -> None:
    note = sentence_for("length", "A picture of this answer was not kept.")
    assert note is not None
    stored = str(joined(str(note), "The answer took longer than 300 seconds."))
    assert RUSSIAN.translate(stored) == (
        "Ответ обрезан: достигнут предел модели. Чтобы продолжить, отправьте «Продолжай». "
        "Одно из изображений этого ответа не сохранено. Ответ занял больше 300 с."
    )
    assert RUSSIAN.translate("What a user has written.") == "What a user has written."


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/помощь", Command("help", "")),
        ("/Подключить Asana", Command("connect", "Asana")),
        ("/расписание каждый день в 9: новости", Command("schedule", "каждый день в 9: новости")),
        ("/help", Command("help", "")),
        ("/помогите", Command("помогите", "")),
    ],
)
def test_commands_are_understood_in_each_language(text: str, command: Command) -> None:
    assert command_of(text) == command


async def said(tmp_path: Path, language: Language, *texts: str) -> list[str]:
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        session.language = language
        return [
            answer_text(await all_events(runtime.chat.turn(session, text, key=canary())))
            for text in texts
        ]


async def test_a_russian_reader_gets_russian_answers_to_commands_in_either_language(
    tmp_path: Path,
) -> None:
    helped, same, made, listed, gone, wrong = await said(
        tmp_path,
        RUSSIAN,
        "/help",
        "/помощь",
        "/расписание по будням в 9:30 по Москве: новости",
        "/schedule список",
        "/schedule отменить 1",
        "/расписание иногда: новости",
    )
    assert helped == same
    assert "`/расписание КОГДА: ЗАДАЧА`" in helped
    assert "Запланировано по будням в 09:30 (Europe/Moscow): новости" in made
    assert "1. новости – по будням в 09:30 (Europe/Moscow); следующий запуск " in listed
    assert gone == "Отменено: новости"
    assert wrong.startswith("Не понимаю, когда это.")


def test_times_and_moments_are_told_in_the_language() -> None:
    assert parse_crontab("15 0 1 * *").describe(RUSSIAN) == "1 числа каждого месяца в 00:15"
    assert parse_crontab("0 9 * * mon,wed").describe(RUSSIAN) == (
        "по понедельникам и по средам в 09:00"
    )
    moment = datetime(2030, 1, 2, 9, 5, tzinfo=UTC)
    assert "янв" in RUSSIAN.moment(moment, UTC)
    assert RUSSIAN.moment(moment, UTC).endswith(", 09:05")


def test_an_import_s_report_is_russian_with_its_values() -> None:
    report = ImportReport(ImportLimits(1, 1, 1, 1, 1), source="chatgpt", imported=12)
    report.refuse("Рецепты", "empty")
    sentence = RUSSIAN.translate_all(report.result)["sentence"]
    assert sentence == (
        "Импортировано чатов из ChatGPT: 12 из 13; не импортирован 1: в 1 нет сообщений (“Рецепты”)."
    )


def test_whatsapp_asks_in_the_language() -> None:
    approval = PendingApproval("a", "c", "SEND", {"to": "x"}, 0)
    (text,) = question(approval, RUSSIAN, "k7")
    assert text.startswith("Хочу выполнить `SEND` с такими данными:")
    assert text.endswith("Ответьте *да k7* или *нет k7*.")


async def test_a_failed_turn_is_told_in_russian_by_rest_the_page_and_v1(tmp_path: Path) -> None:
    refused = "Сервер модели не принял ключ приложения."
    russian = {"Accept_Language": "ru-RU,ru;q=0.9,en;q=0.5"}
    async with app_with_model(tmp_path, "fail-401", api_keys=KEYS) as here:
        async with client(here.url) as shop:
            reply = await shop.say("hello", "s1", **russian)
            assert reply.status == 502
            assert reply.json["detail"].startswith(refused)
            assert reply.json["title"] == "Bad Gateway"  # what programs read stays
            streamed = await shop.say("hello", "s2", Accept="text/event-stream", **russian)
            assert streamed.events[-1][1]["detail"].startswith(refused)
            english = await shop.say("hello", "s3")
            assert english.json["detail"].startswith("The model's server did not accept")
            body = {"model": "assistant", "messages": [{"role": "user", "content": "hello"}]}
            openai = await shop.ask("POST", "/v1/chat/completions", body, **russian)
            assert openai.json["error"]["message"].startswith(refused)
            assert openai.json["error"]["type"] == "server_error"
        async with Browser(here.url) as browser:
            tab = await browser.open(headers={"Accept-Language": "ru"})
            assert refused in last_text((await tab.send("hello")).value)


async def test_an_export_is_in_the_language_that_asks_for_it(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, api_keys=KEYS) as here, client(here.url) as shop:
        await shop.say("hello", "s1")
        path = "/api/chat/assistant/sessions/s1/export?format="
        html = (await shop.ask("GET", f"{path}html", Accept_Language="ru")).body.decode()
        markdown = (await shop.ask("GET", f"{path}md", Accept_Language="ru")).body.decode()
        english = (await shop.ask("GET", f"{path}md")).body.decode()
    assert '<html lang="ru">' in html
    assert "<h2>Вы</h2>" in html
    assert "## Ассистент" in markdown
    assert "## Assistant" in english
