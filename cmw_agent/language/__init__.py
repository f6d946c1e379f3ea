"""The languages of the app's own texts: catalogues, dates, and the choice between them; all may import it."""

from cmw_agent.language.language import Language
from cmw_agent.language.languages import Languages, languages
from cmw_agent.language.wording import Joined, Wording, joined, wording, wordings

__all__ = [
    "Joined",
    "Language",
    "Languages",
    "Wording",
    "joined",
    "languages",
    "wording",
    "wordings",
]
