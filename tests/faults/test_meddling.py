"""Everything that can be done to a conversation is done to one that is being written, before viewers by both doors."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from tests.gateway.server import calling

from legato.gateway.server import Server
from legato.stream import Usage
from legato.testing.engine import ScriptedEngine, ScriptedGeneration

from .conftest import Client, connected


class Stage:
    """A conversation in the middle of a reply, with a socket and an event stream before it."""

    def __init__(
        self, client: Client, http: aiohttp.ClientSession, ack: dict[str, Any], run: ScriptedGeneration
    ) -> None:
        self.client, self.http, self.ack, self.run = client, http, ack, run
        self.conversation: str = ack["conversation"]
        self.reply: str = ack["reply"]

    async def rest(self, method: str, path: str = "", **body: object) -> Any:
        where = f"/api/conversations/{self.conversation}{path}"
        async with self.http.request(method, where, json=body or None) as response:
            assert response.status < 300, await response.text()
            return await response.json() if response.status != 204 else None


async def staged(client: Client, http: aiohttp.ClientSession, engine: ScriptedEngine) -> Stage:
    ack = await client.ask("send", client_message_id="k", text="Hello")
    run = await engine.asked()
    run.say("So ")
    return Stage(client, http, ack, run)


async def events(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """All events until the response ends."""
    lines = (await response.text()).splitlines()
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    return [event for frame in told for event in frame.get("events", ())]


def words(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "text")


def ends(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] in ("finished", "failed")]


async def test_deleted_it_ends_for_everyone(server: Server, engine: ScriptedEngine) -> None:
    async with connected(server) as client, connected(server) as other, calling(server) as http:
        stage = await staged(client, http, engine)
        await other.ask("follow", conversation=stage.conversation)
        async with http.get(f"/api/streams/{stage.reply}") as response:
            deleting = asyncio.create_task(stage.rest("DELETE"))
            told = await events(response)
            await deleting
        assert [end["reason"] for end in ends(told)] == ["stopped"]
        assert words(told) == "So "
        for each in (client, other):
            assert (await each.next("deleted"))["conversation"] == stage.conversation
            assert (await each.ask("follow", conversation=stage.conversation))["code"] == "not_found"
            assert (await each.ask("ping"))["type"] == "pong"
        await stage.run.left()
        assert stage.run.cancelled
        async with http.get(f"/api/streams/{stage.reply}") as response:
            assert response.status == 404
        again = await client.ask("send", client_message_id="k", text="Hello")
        assert (again["type"], again.get("duplicate", False)) == ("ack", False)
        (await engine.asked()).finish()


async def test_deleted_with_a_line_of_replies_none_of_them_begins(
    server: Server, engine: ScriptedEngine
) -> None:
    async with connected(server) as client, calling(server) as http:
        stage = await staged(client, http, engine)
        for n in range(5):
            await client.ask(
                "send", client_message_id=f"k{n}", conversation=stage.conversation, text="And then?"
            )
        await stage.rest("DELETE")
        await stage.run.left()
        async with http.get("/ready") as response:
            assert (await response.json())["replies"] == 0
        assert len(engine.requests) == 1


async def test_renamed_it_goes_on(server: Server, engine: ScriptedEngine) -> None:
    async with connected(server) as client, calling(server) as http:
        stage = await staged(client, http, engine)
        for n in range(20):
            assert (await stage.rest("PATCH", title=f"Title {n}"))["title"] == f"Title {n}"
            stage.run.say(f"{n} ")
        stage.run.finish(usage=Usage(1, 22))
        assert (await client.text(stage.reply))[0] == "So " + "".join(f"{n} " for n in range(20))
        whole = await stage.rest("GET")
        assert (whole["title"], whole["messages"][1]["status"]) == ("Title 19", "complete")


async def test_branches_are_made_and_shown_meanwhile(server: Server, engine: ScriptedEngine) -> None:
    async with connected(server) as client, calling(server) as http:
        stage = await staged(client, http, engine)
        where = {"conversation": stage.conversation}
        second = await client.ask("regenerate", message=stage.reply, **where)
        edited = await client.ask("edit", message=stage.ack["message"], text="Hello again", **where)
        third = await client.ask("regenerate", message=edited["reply"], **where)
        for head in (stage.reply, second["reply"], edited["reply"]):
            shown = await client.ask("show", message=head, **where)
            assert shown["conversation"]["head"] == head
        stage.run.say("far.")
        stage.run.finish()
        for text in ("Second.", "Edited.", "Third."):
            run = await engine.asked()
            run.say(text)
            run.finish()
        got = {}
        while len(got) < 4:
            message = (await client.next("message"))["message"]
            if message["role"] == "assistant" and message["status"] != "streaming":
                got[message["id"]] = message["text"]
        assert got == {
            stage.reply: "So far.",
            second["reply"]: "Second.",
            edited["reply"]: "Edited.",
            third["reply"]: "Third.",
        }
        assert [len(request.turns) for request in engine.requests] == [1, 1, 1, 1]
        assert (await stage.rest("GET"))["head"] == edited["reply"]


async def test_stopped_by_all_at_once_it_ends_once(server: Server, engine: ScriptedEngine) -> None:
    async with connected(server) as client, connected(server) as other, calling(server) as http:
        stage = await staged(client, http, engine)
        async with http.get(f"/api/streams/{stage.reply}") as response:
            stops = [
                client.ask("stop", conversation=stage.conversation),
                other.ask("stop", conversation=stage.conversation, message=stage.reply),
                *(stage.rest("POST", "/stop", message=stage.reply) for _ in range(5)),
            ]
            await asyncio.gather(*stops)
            assert [end["reason"] for end in ends(await events(response))] == ["stopped"]
        assert (await stage.rest("GET"))["messages"][1]["status"] == "stopped"


async def test_the_same_message_by_a_hundred_sockets_is_one(server: Server, engine: ScriptedEngine) -> None:
    async def one() -> dict[str, Any]:
        async with connected(server) as client:
            ack = await client.ask("send", client_message_id="k", text="Hello")
            said, end = await client.text(ack["reply"])
            return {**ack, "re": "", "said": said, "end": end["type"]}

    asking = [asyncio.create_task(one()) for _ in range(100)]
    run = await engine.asked()
    run.say("One answer.")
    run.finish()
    acks = await asyncio.gather(*asking)
    assert sum(not ack.pop("duplicate", False) for ack in acks) == 1
    assert all(ack == acks[0] for ack in acks)
    assert (acks[0]["said"], acks[0]["end"]) == ("One answer.", "finished")
    assert len(engine.requests) == 1


POSITIONS = {
    "": 200,
    "0": 200,
    ":": 200,
    "::": 200,
    "x:0": 200,
    ":0": 200,
    "{epoch}:": 200,
    "{epoch}:-1": 200,
    "{epoch}:1.5": 200,
    "{epoch}:²": 200,
    "{epoch}:٣": 200,
    "{epoch}:1e3": 200,
    "{epoch}:+1": 200,
    "{epoch}: 1": 200,
    "{epoch}:" + "9" * 18: 200,
    "{epoch}:" + "9" * 5000: 200,
    "{epoch}:0{end}": 204,
    "{epoch}:{end}": 204,
    "é" * 100 + ":0": 200,
    "x" * 5000: 200,
    "{epoch}\x00:1": None,
}


@pytest.mark.parametrize("shown", POSITIONS)
async def test_any_last_event_id_gives_the_whole_text_or_nothing_more(
    server: Server, engine: ScriptedEngine, shown: str
) -> None:
    async with connected(server) as client, calling(server) as http:
        stage = await staged(client, http, engine)
        stage.run.say("far.")
        stage.run.finish()
        frame = await client.next("delta")
        while ends(frame["events"]) == []:
            frame = await client.next("delta")
        shown_now = shown.format(epoch=frame["epoch"], end=frame["to"])
        for params, headers in (({"position": shown_now}, {}), ({}, {"Last-Event-ID": shown_now})):
            if headers and POSITIONS[shown] is None:
                continue
            async with http.get(f"/api/streams/{stage.reply}", params=params, headers=headers) as response:
                assert response.status == (POSITIONS[shown] or 200)
                if response.status == 200:
                    told = await events(response)
                    assert words(told) == "So far."
                    assert len(ends(told)) == 1


async def test_an_empty_answer_a_blank_one_and_a_mere_thought_are_errors_and_the_next_goes_on(
    server: Server, engine: ScriptedEngine
) -> None:
    async with connected(server) as client, calling(server) as http:
        stage = await staged(client, http, engine)
        stage.run.finish()
        conversation = stage.conversation
        tries = (lambda run: None, lambda run: run.say(" \n\t "), lambda run: run.think("Hm."))
        for n, say in enumerate(tries):
            ack = await client.ask("send", client_message_id=f"k{n}", conversation=conversation, text="And?")
            run = await engine.asked()
            say(run)
            run.finish()
            _, end = await client.text(ack["reply"])
            assert (end["type"], end["code"]) == ("failed", "empty")
        ack = await client.ask("send", client_message_id="last", conversation=conversation, text="And now?")
        run = await engine.asked()
        assert run.request.turns[-1].role == "user"
        run.say("Yes.")
        run.finish()
        assert (await client.text(ack["reply"]))[0] == "Yes."
