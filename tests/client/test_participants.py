"""The client in a conversation with others, on a real server."""

from pathlib import Path

from tests.dialects.serving import AUTH, token
from tests.gateway.server import calling, serving, settings_for

from legato.client import Client, ConversationRemoved, ParticipantsUpdated, TypingUpdated


async def test_presence_and_typing_arrive_until_the_user_is_removed(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, **AUTH)) as server, calling(server, token("ada")) as http:
        async with http.post("/api/conversations", json={}) as response:
            conversation = (await response.json())["id"]
        path = f"/api/conversations/{conversation}"
        async with http.post(f"{path}/invitations") as response:
            secret = (await response.json())["secret"]
        async with (
            calling(server, token("bob")) as his,
            his.post(f"/api/invitations/{secret}") as response,
        ):
            assert response.status == 200
        async with (
            Client(server.address, token=token("ada")) as ada,
            Client(server.address, token=token("bob")) as bob,
            await ada.follow(conversation),
            await bob.follow(conversation) as watch,
        ):
            happenings = aiter(watch)
            while not watch.participants or not all(each.present for each in watch.participants):
                await anext(happenings)
            assert [each.user for each in watch.participants] == ["ada", "bob"]
            ada.typing(conversation)
            while not isinstance(told := await anext(happenings), TypingUpdated):
                assert isinstance(told, ParticipantsUpdated)
            assert (told.user, told.typing) == ("ada", True)
            async with http.delete(f"{path}/participants/bob") as response:
                assert response.status == 204
            assert [each async for each in happenings][-1] == ConversationRemoved(conversation)
