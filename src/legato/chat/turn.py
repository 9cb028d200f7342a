"""One turn: the history becomes a prompt, an engine writes, and how it ended is decided. Nothing here stores."""

import asyncio
import logging
from typing import Protocol

from legato.chat.conversation import budget, window
from legato.chat.ingress import clean_text
from legato.chat.reply import Reply, finished_message
from legato.engines.base import Capabilities, Outcome, Request
from legato.errors import LegatoError
from legato.message import ImagePart
from legato.storage.base import Message
from legato.stream import Failed, Finished, State, Terminal, Text

logger = logging.getLogger(__name__)

SHORT = 4000
"""Characters of history below which no model's context needs to be asked for."""

BUG = Failed("internal", "The engine failed in a way it should not. The server's log says more; try again.")


class History(Protocol):
    """Gives the branch that a reply stands behind, first message first."""

    async def __call__(self, reply: Reply) -> list[Message]: ...


async def run(reply: Reply, history: History, prefix: str = "") -> tuple[Message, Terminal]:
    """Let the engine write into the reply's log until it ends; the message to store and the event that closes the log.

    :raises asyncio.CancelledError: where the reply is left for another server to go on with.
    """
    model: str | None = None
    outcome: Outcome | None = None
    end: Terminal
    try:
        if reply.ending is not None:
            raise asyncio.CancelledError
        request = await _request(reply, await history(reply), prefix)
        reply.state(State("reading", model=reply.speaker.model))
        outcome = await reply.speaker.engine.generate(request, reply)
        end = Finished("length" if outcome.reason == "length" else "stop")
        if reply.ending == "stopped" or reply.ending == "unwatched":
            end = _stopped()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if reply.ending is None and task is not None and not task.cancelling():
            logger.exception("The engine %s cancelled itself (reply %s)", reply.speaker.engine.name, reply.id)
            end = BUG
        elif reply.ending is None or reply.ending == "leaving":
            raise
        else:
            end = _stopped()
    except LegatoError as error:
        end = Failed(error.code, clean_text(error.message))
    except Exception:
        logger.exception(
            "The engine %s failed in a way of its own (reply %s)", reply.speaker.engine.name, reply.id
        )
        end = BUG
    fold = reply.log.fold()
    if isinstance(end, Finished) and end.reason != "stopped" and not fold.text.strip():
        end = Failed("empty", "The model said nothing. Try again, or ask another model.")
    _disclaim(reply, fold.text)
    fold = reply.log.fold()
    state: State | None = fold.state
    model = outcome.model if outcome else (state.model if state else None)
    if isinstance(end, Finished):
        usage = outcome.usage if outcome else None
        end = Finished(
            end.reason,
            usage,
            reply.timings(outcome.timings if outcome else None, usage.completion_tokens if usage else None),
        )
    detail = state.detail if state else None
    if reply.ending == "unwatched":
        detail = "It was stopped because nobody was watching."
    return finished_message(reply.message, fold, end, model, detail), end


def _stopped() -> Finished:
    """A person has stopped it, and what its task was cancelled for is done."""
    if (task := asyncio.current_task()) is not None:
        task.uncancel()
    return Finished("stopped")


async def _request(reply: Reply, branch: list[Message], prefix: str) -> Request:
    speaker = reply.speaker
    assistant = speaker.assistant
    characters = sum(len(getattr(part, "text", "")) for message in branch for part in message.parts)
    pictures = any(isinstance(part, ImagePart) for message in branch for part in message.parts)
    capabilities = Capabilities()
    if characters > SHORT or pictures:
        capabilities = await speaker.engine.capabilities(speaker.model)
    return Request(
        model=speaker.model,
        turns=window(branch, assistant.system, assistant.history, budget(capabilities, assistant.options)),
        prefix=prefix,
        options=assistant.options,
        think=assistant.think,
        keep_alive=assistant.keep_alive,
        conversation=reply.message.conversation,
        user=reply.user,
    )


def _disclaim(reply: Reply, text: str) -> None:
    """Append the assistant's disclaimer behind what was said, once, also where the reply was resumed behind it."""
    disclaimer = reply.speaker.assistant.disclaimer
    if disclaimer and text and not text.endswith("\n\n" + disclaimer):
        reply.log.append(Text("\n\n" + disclaimer))
