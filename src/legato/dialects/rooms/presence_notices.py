"""Notices about who joins and leaves a session, as the sockets of this dialect and server see it."""

from collections.abc import Callable, Iterable

from legato.chat.conversation_presence import ParticipantPresence

Notify = Callable[[str, str], None]
"""Sends a notice about the session to one socket, under an id that is the same for all sockets."""


class PresenceNotices:
    """The users who were present at the last look, and the names of all participants. All sockets of a session share it.

    With `each_connection` (auth is off, so nobody has a name) every connection counts as a user who joins and leaves.
    """

    def __init__(
        self, new_id: Callable[[], str], each_connection: bool, participants: Iterable[ParticipantPresence]
    ) -> None:
        self._new_id = new_id
        self._each_connection = each_connection
        self._names: dict[str, str] = {}
        self._present = self._connections(participants)
        self.sockets: dict[Notify, None] = {}

    def name(self, user: str) -> str:
        return self._names.get(user) or user

    def update(self, participants: Iterable[ParticipantPresence]) -> None:
        """Notify every socket of the users who joined and left since the last call."""
        before, self._present = self._present, self._connections(participants)
        left = [user for user, count in before.items() if count > self._present.get(user, 0)]
        joined = [user for user, count in self._present.items() if count > before.get(user, 0)]
        for notice in [f"{self.name(user)} left." for user in left] + [
            f"{self.name(user)} joined." for user in joined
        ]:
            id_ = self._new_id()
            for notify in list(self.sockets):
                notify(id_, notice)

    def _connections(self, participants: Iterable[ParticipantPresence]) -> dict[str, int]:
        """Return the connections of each user who is present."""
        connections: dict[str, int] = {}
        for each in participants:
            if each.name:
                self._names[each.user] = each.name
            if each.connections > 0:
                connections[each.user] = each.connections if self._each_connection else 1
        return connections


class PresenceNoticesRegistry:
    """The notices of each session that a socket is in."""

    def __init__(self, new_id: Callable[[], str], each_connection: bool) -> None:
        self._new_id = new_id
        self._each_connection = each_connection
        self._all: dict[str, PresenceNotices] = {}

    def enter(
        self, session: str, notify: Notify, participants: Callable[[str], Iterable[ParticipantPresence]]
    ) -> PresenceNotices:
        """Register a socket, before its user counts as present. `participants` returns those of a session."""
        notices = self._all.get(session)
        if notices is None:
            notices = self._all[session] = PresenceNotices(
                self._new_id, self._each_connection, participants(session)
            )
        notices.sockets[notify] = None
        return notices

    def leave(self, session: str, notify: Notify) -> None:
        """Unregister a socket."""
        notices = self._all.get(session)
        if notices is not None:
            notices.sockets.pop(notify, None)
            if not notices.sockets:
                del self._all[session]
