"""Those who are of the fleet: who somebody was before, and what they have written together."""

import hmac
import logging
from collections.abc import Container
from itertools import chain, count

from legato.fleet.agent_connection import AgentConnection
from legato.fleet.agent_record import AgentRecord, called
from legato.fleet.protocol import Register

logger = logging.getLogger(__name__)


class AgentRegistry(dict[str, AgentRecord]):
    """By their ids. `rate` is of the tokens that they write, per second."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = 0.0
        self._former = 0
        self._counted = 0

    @property
    def tokens(self) -> int:
        """All that were written since the server started."""
        return self._former + sum(member.written for member in self.values())

    def of(self, link: AgentConnection) -> AgentRecord | None:
        """Whose connection this is, unless they have another one by now."""
        member = self.get(link.id)
        return member if member is not None and member.link is link else None

    def known(self, register: Register) -> AgentRecord | None:
        """Who this was before, if it can show it."""
        return next(
            (
                member
                for member in self.values()
                if register.instance is not None
                and member.instance == register.instance
                and _same(member.secret, register.secret)
            ),
            None,
        )

    def replaced(self, link: AgentConnection, register: Register) -> AgentRecord | None:
        """Who went away without a word and is here again as another run of it: of the same name, with the same key."""
        return next(
            (
                member
                for member in self.values()
                if register.name
                and member.link is None
                and (member.called, member.owner) == (called(register, link.id), link.owner)
            ),
            None,
        )

    def name(self, link: AgentConnection, register: Register) -> str:
        """What people read of one that joins: what it calls itself, with a number where another one is called so. Two
        agents beside two engines of one machine both have its name."""
        wanted, taken = called(register, link.id), {member.name for member in self.values()}
        names = chain([wanted], (f"{wanted}-{number}" for number in count(2)))
        return next(name for name in names if name not in taken)

    def reap(self, seats: Container[str]) -> None:
        """Those that have no seat any more are members no more."""
        for member in [each for each in self.values() if each.id not in seats]:
            del self[member.id]
            logger.info("%s has left the fleet", member.name)
            self._former += member.written

    def count(self, elapsed: float) -> bool:
        """So many seconds went by. Whether `rate` is another one now."""
        for member in self.values():
            member.count(elapsed)
        tokens, before = self.tokens, self.rate
        self.rate = (tokens - self._counted) / elapsed if elapsed > 0 else 0.0
        self._counted = tokens
        return self.rate != before


def _same(secret: str, shown: str | None) -> bool:
    """Whether it is the secret that was shown, in a time that tells nothing."""
    return shown is not None and hmac.compare_digest(secret.encode(), shown.encode("utf-8", "surrogatepass"))
