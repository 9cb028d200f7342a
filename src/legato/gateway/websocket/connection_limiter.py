"""How many connections a server holds, and who may have the last ones. No I/O, no clock."""

from collections import Counter
from collections.abc import Callable

RESERVED = 16
"""One connection in so many is kept for addresses that have few."""

FEW = 4
"""Connections that an address may have although few are left. Checks of health and people who come back need no more."""


class ConnectionLimiter:
    """Admits connections by their address. `capacity` is how many there may be; `log` is told the address of a refusal.

    The last ones are for addresses that have few connections, so that one address cannot take all of them.
    """

    def __init__(self, capacity: int, log: Callable[[str], None]) -> None:
        self.capacity = capacity
        self._log = log
        self._by_address: Counter[str] = Counter()
        self._total = 0
        self.refused = 0

    @property
    def total(self) -> int:
        """How many connections there are."""
        return self._total

    def admit(self, address: str) -> bool:
        """Count a connection and return True, or return False if it must be refused."""
        short = self._total >= self.capacity - max(FEW, self.capacity // RESERVED)
        if self._total >= self.capacity or (short and self._by_address[address] >= FEW):
            self.refused += 1
            self._log(address)
            return False
        self._total += 1
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Count an admitted connection no more."""
        self._total -= 1
        self._by_address -= Counter((address,))
