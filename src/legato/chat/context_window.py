"""The prompt: which messages a model gets, in a form that every template takes, and within its context. Pure values."""

from collections.abc import Sequence

from msgspec import Struct

from legato.chat.message_tree import budget, size, window
from legato.domain.message import Message, Part, TextPart, ToolResultPart
from legato.engines.base import Capabilities, Turn
from legato.errors import ContextExceededError

TRIES = 5
"""Times that a prompt is made shorter because the model refused its length, at most, for one reply."""

_SAFE = 0.9
_HALF = 0.5


class Prompt(Struct, frozen=True):
    """What a model gets. `tokens` is an estimate; `left_out` counts messages that the context has no room for."""

    turns: tuple[Turn, ...]
    tokens: float
    left_out: int


class ContextWindow:
    """How many tokens a prompt of one reply may have: an estimate, until the model refuses a length."""

    __slots__ = ("_room", "_tries")

    def __init__(self) -> None:
        self._room: float | None = None
        self._tries = 0

    def room(self, can: Capabilities, options: dict[str, object]) -> float | None:
        """Return the estimated tokens that fit, None if the context is not known."""
        known = budget(can, options)
        if self._room is None:
            return known
        return self._room if known is None else min(known, self._room)

    def shrink(self, prompt: Prompt, error: ContextExceededError) -> bool:
        """Make the budget smaller after a refusal. Returns False if a smaller prompt is not possible.

        The tokens that the model's own tokenizer counted tell how far the estimate was off.
        """
        messages = sum(turn.role != "system" for turn in prompt.turns)
        if self._tries >= TRIES or messages < 2:
            return False
        self._tries += 1
        if error.limit and error.asked and error.asked > error.limit:
            share = min(_SAFE, error.limit / error.asked * _SAFE)
        else:
            share = _HALF
        self._room = prompt.tokens * share
        return True


def assemble(
    branch: Sequence[Message],
    system: str | None,
    history: int,
    room: float | None,
    done: tuple[Part, ...] = (),
) -> Prompt:
    """Return the prompt for a branch: the system prompt, and the last `history` messages that fit into `room` tokens.

    Its first message is the user's, and neighbours of one role are joined, because many templates demand that roles
    alternate. If the first of the `history` messages is an answer, its question is in the prompt too. `done` are the parts that the reply has already. The last message is in it, whatever its size.
    """
    if room is not None and done:
        room -= size(done)
    messages = list(branch)
    chosen = window(messages, None, history)
    if chosen and chosen[0].role == "assistant":
        history += 1
        chosen = window(messages, None, history)
    fitting = window(messages, system, history, room)
    left_out = (
        len(chosen) - sum(turn.role != "system" for turn in fitting) if system else len(chosen) - len(fitting)
    )
    turns = alternating((*fitting, Turn("assistant", done)) if done else fitting)
    return Prompt(turns, sum(size(turn.parts) for turn in turns), max(0, left_out))


def alternating(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return the turns with neighbours of one role joined, and beginning with the user's behind the system prompt."""
    joined: list[Turn] = []
    for turn in turns:
        if not _says_anything(turn.parts):
            continue
        if joined and joined[-1].role == turn.role:
            joined[-1] = Turn(turn.role, _join(joined[-1].parts, turn.parts))
        elif turn.role == "assistant" and all(each.role == "system" for each in joined):
            if turn is turns[-1]:
                joined.append(turn)
        else:
            joined.append(turn)
    return tuple(joined)


def left_out_notice(count: int) -> str | None:
    """Return the sentence that tells a person what the model was not given; None if that is nothing."""
    if not count:
        return None
    what = "The first message was" if count == 1 else f"The first {count} messages were"
    return f"{what} left out: the conversation is longer than the model's context."


def _says_anything(parts: tuple[Part, ...]) -> bool:
    return any(not isinstance(part, TextPart) or part.text.strip() for part in parts)


def _join(one: tuple[Part, ...], other: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts of two messages as one, with a blank line between their texts."""
    last = max((n for n, part in enumerate(one) if isinstance(part, ToolResultPart)), default=-1)
    texts = any(isinstance(part, TextPart) for part in one[last + 1 :])
    between = (TextPart("\n\n"),) if texts and any(isinstance(part, TextPart) for part in other) else ()
    return (*one, *between, *other)
