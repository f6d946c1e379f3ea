"""Writes down what somebody has said into the page's microphone. Nothing of it is stored."""

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.files.sniffing import HEAD, detect
from cmw_agent.llm.transcription import Transcription

MAX_BYTES = 5_000_000  # of a recording: two minutes in any format that browsers record
EMPTY = "Nothing was recorded; please try again."
NOT_AUDIO = "This is no recording that can be written down."
SILENT = "No words were found in this recording."


class VoiceInput:
    """Returns the words of recordings. One object serves the process.

    Args:
        transcription: The client of the endpoint that writes them down.
    """

    def __init__(self, transcription: Transcription) -> None:
        self._transcription = transcription

    async def text(self, recording: bytes) -> str:
        """Return the words of a recording.

        Raises:
            InvalidMessageError: It is empty, no recording, or without words.
            ModelFailedError: The endpoint failed.
        """
        if not recording:
            raise InvalidMessageError(EMPTY)
        file_type = detect(recording[:HEAD], "")
        if file_type is None or file_type.kind != "audio":
            raise InvalidMessageError(NOT_AUDIO)
        text = await self._transcription.text_of(recording, file_type.media_type)
        if not text:
            raise InvalidMessageError(SILENT)
        return text
