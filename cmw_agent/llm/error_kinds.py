"""Kinds of endpoints' failures: what a status and an error's text mean for the user.

Servers of the same interface use other statuses and other words for the same failure: an account
without credit is a 402, a 429 or a 403, and an unknown model a 404 or a 400. The words below were
taken from public reports about many servers.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmw_agent.llm.errors import ErrorDetails

NO_CREDIT = re.compile(
    r"insufficient[ _-]?(quota|balance|credit|funds?)|exceeded your current quota|\bbilling"
    r"|\bcredits?\b(?! card)|out of quota|quota[ _]exhausted|payment[ _]required|\barrearage\b"
    r"|balance is (too low|insufficient|not enough)|in arrears|spend(ing)? limit"
    r"|budget[ _](has been )?exceeded|over budget|key limit exceeded|free[ _]?tier ?(limit|only)"
    r"|_quota_failed|insufficient_\w{1,20}quota|余额|额度|欠费",
    re.IGNORECASE,
)
MODERATED = re.compile(
    r"moderation|flagged|content[ _-]?(policy|filter|management policy|moderation)"
    r"|responsible_?ai|usage (polic|guideline)|safety (system|filter|polic|setting|guideline)"
    r"|prohibited|content exists risk|considered high risk|\bnsfw\b|new_sensitive|敏感|违规"
    r"|inappropriate|data_?inspection|violat\w{1,8} .{0,60}polic|sensitive (content|information|word)"
    r"|contents?ensitive|unsafe content|guardrail",
    re.IGNORECASE,
)
TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size|limit)|(?<!array )\btoo long\b|too many (input |prompt )?tokens"
    r"|(maximum|max) context|(max\w*|exceeds?) (prompt |input )?length\b|max_seq_len|total text bytes"
    r"|(token|prompt) (token )?(limit|count).{0,40}(exceed|requested)|exceed\w* .{0,20}token limit"
    r"|max_prompt_tokens|(maximum|max) prompt"
    r"|(request|payload|entity|prompt|input)( is)? too large|reduce the length"
    r"|maximum (number of )?(input |prompt )?tokens|(?<!max_)tokens exceeds?\b|input length"
    r"|`inputs` tokens",
    re.IGNORECASE,
)
BAD_KEY = re.compile(
    r"(invalid|incorrect|wrong|missing|no)[ _](api|auth\w*)[ _-]?(key|token)"
    r"|api[ _-]?key (is )?(not valid|invalid|missing|required|expired)",
    re.IGNORECASE,
)
NO_MODEL = re.compile(
    r"model_?not_?found|model_?decommissioned|deploymentnotfound|no models? loaded"
    r"|(model|deployment).{0,80}?(not (be )?(found|exist|loaded)|decommissioned|deprecated|retired)"
    r"|(model|deployment).{0,80}?(does not exist|doesn.t exist|no longer)"
    r"|(unknown|invalid|no such|unrecognized) model\b|not a valid model|access to (the )?model"
    r"|model_not_supported|model ['\"`]?[\w./:-]+['\"`]? is not supported|模型不存在|无可用渠道",
    re.IGNORECASE | re.DOTALL,
)
A_MODEL = re.compile(r"\bmodel\b|no endpoints found", re.IGNORECASE)
LARGE_REQUEST = re.compile(r"request too large|reduce the length", re.IGNORECASE)
POLICY = re.compile(r"(?<!data )polic(y|ies)", re.IGNORECASE)
RATE = re.compile(
    r"rate[ _-]?limit|too[ _]many[ _]requests|overloaded|throttl|requests per (second|minute|day)",
    re.IGNORECASE,
)
HTML = "html"  # the type of details that were read from a page
BUSY = frozenset({409, 425, 429})
FIXED = {402: "no_credit", 405: "wrong_address", 408: "timeout"}


def kind_of(status: int | None, details: "ErrorDetails | None") -> str:
    """Return the kind of a failure, such as ``"no_credit"``.

    Args:
        status: HTTP status; None for an error that came inside a stream.
        details: What the server said.
    """
    words = _words(details)
    if status is None:
        return _kind_by_words(words) or ("rate_limited" if RATE.search(words) else "refused")
    if status in FIXED:
        return FIXED[status]
    if status == 401:
        return "no_credit" if NO_CREDIT.search(words) else "unauthorised"
    if status >= 500:
        return _server_error(words, details)
    if 300 <= status < 400:
        return "wrong_address"
    if status == 404:
        return _not_found(words, details)
    if status in BUSY:
        return _busy(words)
    return _kind_by_words(words) or _by_status(status, words)


def _server_error(words: str, details: "ErrorDetails | None") -> str:
    """Return the kind of a status from 500, with which few servers say what is wrong for good."""
    if TOO_LONG.search(words):
        return "too_long"
    is_unknown = details is not None and details.code == "model_not_found"
    return "no_such_model" if is_unknown else "server_error"


def _kind_by_words(words: str) -> str | None:
    if NO_CREDIT.search(words):
        return "no_credit"
    if MODERATED.search(words):
        return "moderated"
    if TOO_LONG.search(words):
        return "too_long"
    if BAD_KEY.search(words):
        return "unauthorised"
    return "no_such_model" if NO_MODEL.search(words) else None


def _not_found(words: str, details: "ErrorDetails | None") -> str:
    if details is None or details.type == HTML:
        return "wrong_address"
    if details.param == "model" or A_MODEL.search(words) or NO_MODEL.search(words):
        return "no_such_model"
    return "wrong_address"


def _busy(words: str) -> str:
    if NO_CREDIT.search(words):
        return "no_credit"
    # A single request beyond the limit of a minute: no pause makes it smaller.
    is_large = LARGE_REQUEST.search(words)
    return "too_long" if is_large else "rate_limited"


def _by_status(status: int, words: str) -> str:
    if status == 413:
        return "too_long"
    if RATE.search(words):
        return "rate_limited"
    if status != 403:
        return "rejected"
    return "moderated" if POLICY.search(words) else "unauthorised"


def _words(details: "ErrorDetails | None") -> str:
    if details is None:
        return ""
    parts = (details.code, details.type, details.text or details.message)
    return " ".join(part for part in parts if part)
