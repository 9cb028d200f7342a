import { Ollama } from "ollama";
import { MODEL, WEATHER, assert, failure, server, user } from "./expect.mjs";

const client = new Ollama({ host: server });
const tools = [{ type: "function", function: { name: "weather", description: "d", parameters: WEATHER } }];

export const cases = {
  async "ollama: a whole reply"() {
    const reply = await client.chat({ model: MODEL, messages: user("one two") });
    assert.equal(reply.message.content, "one two");
    assert.equal(reply.done_reason, "stop");
  },

  async "ollama: a streamed reply"() {
    let text = "";
    let last = null;
    for await (const part of await client.generate({ model: MODEL, prompt: "süß \u2028 🥚", stream: true })) {
      text += part.response;
      last = part;
    }
    assert.equal(text, "süß \u2028 🥚");
    assert.ok(last.done && last.eval_count > 0);
  },

  async "ollama: a tool and its result"() {
    const first = await client.chat({ model: MODEL, messages: user("weather"), tools });
    assert.deepEqual(first.message.tool_calls[0].function.arguments, { city: "Ulm" });
    const result = { role: "tool", tool_name: "weather", content: "sun" };
    const second = await client.chat({
      model: MODEL,
      tools,
      messages: [...user("weather"), first.message, result],
    });
    assert.equal(second.message.content, "It is sun.");
  },

  async "ollama: an unknown model is not found"() {
    const error = await failure(() => client.chat({ model: "none", messages: user("x") }));
    assert.equal(error.status_code, 404);
  },

  async "ollama: a stream that breaks is an error"() {
    const error = await failure(async () => {
      for await (const _ of await client.chat({ model: MODEL, messages: user("break"), stream: true }));
    });
    assert.match(error.message, /broke/);
  },

  async "ollama: the models"() {
    const names = (await client.list()).models.map((model) => model.name);
    assert.ok(names.includes(MODEL));
    assert.ok((await client.show({ model: MODEL })).capabilities.includes("completion"));
  },
};
