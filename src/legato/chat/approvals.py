"""The tools of a reply that wait for a user's approval."""

import asyncio

from legato.errors import NotFoundError


class Approvals:
    """Each call is decided once, by the first decision; a later one changes nothing."""

    __slots__ = ("_asked", "_decided")

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self._decided: set[str] = set()

    def expect(self, call: str) -> "asyncio.Future[bool]":
        """Accept a decision on `call` from now on, and return the future decision."""
        if call not in self._asked:
            self._asked[call] = asyncio.get_running_loop().create_future()
        return self._asked[call]

    async def ask(self, call: str) -> bool:
        """Wait for the decision on `call`."""
        decision = self.expect(call)
        try:
            return await decision
        finally:
            del self._asked[call]

    def check(self, call: str) -> None:
        """:raises NotFoundError: nothing of this name ever waited for a decision."""
        if call not in self._asked and call not in self._decided:
            raise NotFoundError("There is no tool of this name that waits for a word.")

    def decide(self, call: str, allow: bool) -> None:
        """Decide on a call.

        :raises NotFoundError: nothing of this name ever waited for a decision.
        """
        decision = self._asked.get(call)
        if decision is not None and not decision.done():
            self._decided.add(call)
            decision.set_result(allow)
        elif call not in self._decided:
            raise NotFoundError("There is no tool of this name that waits for a word.")
