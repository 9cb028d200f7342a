"""A person who has written too much is told what to do, over HTTP and on a socket."""

from pathlib import Path

from .server import calling, serving, settings_for


async def test_a_person_without_room_deletes_a_conversation_and_goes_on(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, storage={"text_quota_bytes": 10_000})
    async with serving(settings) as server, calling(server) as http:
        made = []
        for _ in range(2):
            async with http.post("/api/conversations", json={}) as response:
                made.append((await response.json())["id"])
        first, second = (f"/api/conversations/{each}" for each in made)
        async with http.post(f"{first}/messages", json={"text": "x" * 4500}) as response:
            reply = (await response.json())["reply"]
        async with http.get(f"/api/streams/{reply}") as response:
            await response.read()
        async with http.post(f"{second}/messages", json={"text": "more"}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (413, "too_large")
        async with http.ws_connect("/ws", protocols=["legato.v1"]) as socket:
            await socket.send_json({"type": "hello"})
            while (frame := await socket.receive_json())["type"] != "welcome":
                pass
            await socket.send_json(
                {
                    "type": "send",
                    "id": "1",
                    "client_message_id": "1",
                    "text": "more",
                    "conversation": made[1],
                }
            )
            while (frame := await socket.receive_json())["type"] != "error":
                pass
            assert "Delete conversations" in frame["message"]
        async with http.delete(first) as response:
            assert response.status == 204
        async with http.post(f"{second}/messages", json={"text": "more"}) as response:
            assert response.status == 201
