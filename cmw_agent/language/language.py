"""One language: its texts, and its forms of dates and numbers."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from gettext import NullTranslations
from typing import Any, Literal

from babel import Locale
from babel.dates import format_date, format_datetime, format_skeleton, format_time
from babel.lists import format_list
from babel.numbers import format_decimal

from cmw_agent.language.stored_texts import StoredTexts, sentences
from cmw_agent.language.wording import Joined, Wording, filled

Style = Literal["short", "medium", "long", "full"]


@dataclass(frozen=True, slots=True)
class Language:
    """Texts, dates and numbers of one language.

    Attributes:
        tag: Its tag as in HTML's ``lang``, such as ``ru``.
        locale: Its forms of dates and numbers.
        translations: Its texts, by the English ones.
        script_texts: Texts that scripts use, by the English ones; a list where there are plural forms.
        plural_expression: Which plural form belongs to the number ``n``, as an expression that C and
            JavaScript share.
        stored_texts: Recognises texts that were stored in English.
    """

    tag: str
    locale: Locale
    translations: NullTranslations
    script_texts: Mapping[str, str | list[str]]
    plural_expression: str
    stored_texts: StoredTexts = field(default_factory=lambda: StoredTexts(()))

    @property
    def name(self) -> str:
        """Its name in itself, with a capital letter."""
        name = self.locale.get_display_name() or self.tag
        return name[0].upper() + name[1:]

    @property
    def direction(self) -> str:
        """``ltr`` or ``rtl``."""
        return self.locale.text_direction

    def gettext(self, text: str, /, **values: object) -> str:
        """Return the text of an English one; one that the catalogue does not have stays as it is.

        Args:
            text: The English text, with ``{name}`` where a value is to stand.
            values: The values; a `Wording` among them is translated too.
        """
        found = self.translations.gettext(text) if text else ""  # "" names the catalogue's header
        return filled(found, self._translated(values)) if values else found

    def ngettext(self, singular: str, several: str, /, count: int, **values: object) -> str:
        """Return the text for a number.

        Args:
            singular: The English text for one, with ``{count}`` where the number is to stand.
            several: The English text for any other number.
            count: The number.
            values: Further values.
        """
        found = self.translations.ngettext(singular, several, count)
        return filled(found, {"count": self.number(count), **self._translated(values)})

    def translate(self, text: str) -> str:
        """Return a text that was written before its language was known.

        Args:
            text: A `Wording`, or English texts of the app as they are stored; others stay as they
                are.
        """
        if isinstance(text, Joined):
            return text.separator.join(self.translate(part) for part in text.parts)
        if not isinstance(text, Wording):
            return self._recognised(text) or text
        if text.plural is None:
            return self.gettext(text.singular, **text.values)
        return self.ngettext(text.singular, text.plural, text.number, **text.values)

    def translate_all(self, value: Any) -> Any:
        """Return JSON values with each text of the app in this language."""
        if isinstance(value, Wording | Joined):
            return self.translate(value)
        if isinstance(value, dict):
            return {key: self.translate_all(item) for key, item in value.items()}
        return [self.translate_all(item) for item in value] if isinstance(value, list) else value

    def number(self, value: float) -> str:
        """Return a number with the language's separators."""
        return format_decimal(value, locale=self.locale)

    def date(self, value: dt.date, style: Style = "medium") -> str:
        """Return a day."""
        return format_date(value, style, locale=self.locale)

    def time(self, value: dt.datetime | dt.time, zone: dt.tzinfo, style: Style = "short") -> str:
        """Return a time of day in a time zone."""
        return format_time(value, style, tzinfo=zone, locale=self.locale)

    def datetime(self, value: dt.datetime, zone: dt.tzinfo, style: Style = "medium") -> str:
        """Return a day and time in a time zone."""
        return format_datetime(value, style, tzinfo=zone, locale=self.locale)

    def moment(self, value: dt.datetime, zone: dt.tzinfo) -> str:
        """Return a day of the week, a day and a time by 24 hours, in a time zone."""
        day = format_skeleton("yMMMEd", value, zone, locale=self.locale)
        return f"{day}, {format_skeleton('Hm', value, zone, locale=self.locale)}"

    def listed(self, items: Sequence[str]) -> str:
        """Return several things as a sentence names them: one, two and three."""
        return format_list(items, locale=self.locale)

    def _recognised(self, text: str) -> str | None:
        """Return a stored English text in this language; None for one that is not the app's."""
        if (found := self.gettext(text)) != text:
            return found
        if (stored := self.stored_texts.find(text)) is not None:
            source, values = stored
            return self.gettext(source, **{n: self.translate(v) for n, v in values.items()})
        for first, rest in sentences(text):
            if (known := self._recognised(first)) is not None:
                return f"{known} {self.translate(rest)}"
        return None

    def _translated(self, values: Mapping[str, object]) -> dict[str, object]:
        return {name: self._translated_value(value) for name, value in values.items()}

    def _translated_value(self, value: object) -> object:
        if isinstance(value, Wording | Joined):
            return self.translate(value)
        return self.number(value) if isinstance(value, int) else value
