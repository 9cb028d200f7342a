"""The people of one session, as this server's sockets of the dialect know them."""

from collections.abc import Callable, Iterable

from legato.chat.conversation_presence import ParticipantPresence

Tell = Callable[[str, str], None]
"""Says a sentence about the session to one socket, under an id that is the same for all of them."""


class PresenceNotices:
    """Who was here when it was last looked at, and what everybody is called. All sockets of a session share one.

    Where nobody has a name (auth is off), every connection counts as somebody who comes and goes.
    """

    def __init__(
        self, new_id: Callable[[], str], each_connection: bool, people: Iterable[ParticipantPresence]
    ) -> None:
        self._new_id = new_id
        self._each_connection = each_connection
        self._names: dict[str, str] = {}
        self._here = self._counted(people)
        self.sockets: dict[Tell, None] = {}

    def name(self, user: str) -> str:
        return self._names.get(user) or user

    def look(self, people: Iterable[ParticipantPresence]) -> None:
        """Tell every socket who came and who left since the last look."""
        before, self._here = self._here, self._counted(people)
        left = [user for user, count in before.items() if count > self._here.get(user, 0)]
        came = [user for user, count in self._here.items() if count > before.get(user, 0)]
        for notice in [f"{self.name(user)} left." for user in left] + [
            f"{self.name(user)} joined." for user in came
        ]:
            id_ = self._new_id()
            for tell in list(self.sockets):
                tell(id_, notice)

    def _counted(self, people: Iterable[ParticipantPresence]) -> dict[str, int]:
        counted: dict[str, int] = {}
        for each in people:
            if each.name:
                self._names[each.user] = each.name
            if each.connections > 0:
                counted[each.user] = each.connections if self._each_connection else 1
        return counted


class PresenceNoticesRegistry:
    """The gatherings of a dialect. One is there while a socket is in it."""

    def __init__(self, new_id: Callable[[], str], each_connection: bool) -> None:
        self._new_id = new_id
        self._each_connection = each_connection
        self._all: dict[str, PresenceNotices] = {}

    def enter(
        self, session: str, tell: Tell, people: Callable[[str], Iterable[ParticipantPresence]]
    ) -> PresenceNotices:
        """Come in, before one counts as here. `people` says who takes part."""
        gathering = self._all.get(session)
        if gathering is None:
            gathering = self._all[session] = PresenceNotices(
                self._new_id, self._each_connection, people(session)
            )
        gathering.sockets[tell] = None
        return gathering

    def leave(self, session: str, tell: Tell) -> None:
        gathering = self._all.get(session)
        if gathering is not None:
            gathering.sockets.pop(tell, None)
            if not gathering.sockets:
                del self._all[session]
