"""Who the agents of the fleet are, over all connections that they make."""

import hmac
import secrets
from collections.abc import Collection, Iterator
from itertools import chain, count

from msgspec import Struct

from legato.fleet.protocol import Register

MAX_NAME = 80


class AgentIdentity(Struct, frozen=True):
    """`called` is what the agent calls itself, `name` tells it from the others. `owner` names its key. `instance` is a run of the
    agent, which shows `secret` to continue. `protocol` is the version of the agent protocol, `version` that of the agent."""

    id: str
    name: str
    called: str
    owner: str
    protocol: int
    instance: str | None
    secret: str
    version: str | None


class AgentRegistry:
    """The identities of all agents by id."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentIdentity] = {}

    def __len__(self) -> int:
        return len(self._agents)

    def __iter__(self) -> Iterator[AgentIdentity]:
        return iter(self._agents.values())

    def __getitem__(self, agent: str) -> AgentIdentity:
        return self._agents[agent]

    def recognise(self, register: Register) -> AgentIdentity | None:
        """Who this was before, if it shows the secret."""
        return next(
            (
                agent
                for agent in self
                if register.instance is not None
                and agent.instance == register.instance
                and _same(agent.secret, register.secret)
            ),
            None,
        )

    def namesakes(self, register: Register, agent: str, owner: str) -> list[AgentIdentity]:
        """The agents that call themselves the same and have the same key."""
        wanted = called(register, agent), owner
        return [each for each in self if register.name and (each.called, each.owner) == wanted]

    def describe(self, register: Register, agent: str, owner: str, protocol: int) -> AgentIdentity:
        """The identity of a new agent. Its name is what it calls itself, with a number if another agent has that name: two
        agents on one machine both have its name."""
        wanted, taken = called(register, agent), {each.name for each in self}
        names = chain([wanted], (f"{wanted}-{number}" for number in count(2)))
        return AgentIdentity(
            agent,
            next(name for name in names if name not in taken),
            wanted,
            owner,
            protocol,
            register.instance,
            secrets.token_hex(16),
            register.version,
        )

    def put(self, agent: AgentIdentity) -> None:
        """Add an agent, or replace what is known of it."""
        self._agents[agent.id] = agent

    def keep_only(self, agents: Collection[str]) -> list[AgentIdentity]:
        """Remove all others, and return them."""
        if len(agents) == len(self):
            return []
        removed = [each for each in self if each.id not in agents]
        for each in removed:
            del self._agents[each.id]
        return removed


def called(register: Register, agent: str) -> str:
    """What an agent calls itself: one line, in logs and in terminals too."""
    name = "".join(each if each.isprintable() else " " for each in register.name or "")
    return " ".join(name.split())[:MAX_NAME].rstrip() or f"agent {agent[:6]}"


def _same(secret: str, shown: str | None) -> bool:
    """Compare in a time that does not depend on the strings."""
    return shown is not None and hmac.compare_digest(secret.encode(), shown.encode("utf-8", "surrogatepass"))
