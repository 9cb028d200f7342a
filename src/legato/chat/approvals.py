"""The tools of a reply that wait for a person's word."""

import asyncio

from legato.errors import NotFoundError


class Approvals:
    """Each call is decided once, by whoever speaks first; a word that comes later changes nothing."""

    __slots__ = ("_asked", "_decided")

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self._decided: set[str] = set()

    def expect(self, call: str) -> "asyncio.Future[bool]":
        """A word on `call` counts from now on."""
        if call not in self._asked:
            self._asked[call] = asyncio.get_running_loop().create_future()
        return self._asked[call]

    async def ask(self, call: str) -> bool:
        """Wait for the word on `call`."""
        word = self.expect(call)
        try:
            return await word
        finally:
            del self._asked[call]

    def decide(self, call: str, allow: bool) -> None:
        """Give the word.

        :raises NotFoundError: nothing of this name ever waited for one.
        """
        word = self._asked.get(call)
        if word is not None and not word.done():
            self._decided.add(call)
            word.set_result(allow)
        elif call not in self._decided:
            raise NotFoundError("There is no tool of this name that waits for a word.")
