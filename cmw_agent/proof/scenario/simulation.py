"""Simulated users, whose messages a model writes."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from cmw_agent.llm.chat_model import HistoryMessage
from cmw_agent.proof.scenario.checks import Answer
from cmw_agent.proof.scenario.definition import SimulatedUser, filled
from cmw_agent.proof.scenario.models import ScenarioModels

END = "[END]"
BEGINNING = "(The conversation begins. Write the user's first message.)"
INSTRUCTIONS = (
    "You play a user who talks to an assistant; what you are sent is what the assistant says. Write the "
    "user's next message alone: no explanation, no quotation marks, nothing of the assistant's part. "
    "When the user has what they want, or sees that they will not get it, write {end} alone.\n\n"
    "Who the user is: {persona}\nWhat the user wants: {goal}"
)


async def next_message(
    models: ScenarioModels,
    owner: str,
    user: SimulatedUser,
    answers: Sequence[Answer],
    values: Mapping[str, str],
    seed: int,
) -> str | None:
    """Return what a simulated user writes next; None where they end.

    Args:
        models: The models.
        owner: Id of the principal that the user is.
        user: Who they are.
        answers: The conversation so far.
        values: The user's variables.
        seed: The model's seed.

    Raises:
        NoReplyError: The model gave none.
    """
    own = {"end": END, "persona": filled(user.persona, values), "goal": filled(user.goal, values)}
    history = [HistoryMessage("user", BEGINNING)]
    for each in answers:
        history.append(HistoryMessage("assistant", each.said))
        history.append(HistoryMessage("user", each.text))
    parameters = MappingProxyType({"seed": seed})
    reply = await models.reply(owner, user.model, filled(INSTRUCTIONS, own), history, parameters)
    return None if END in reply or not reply.strip() else reply.strip()
