import Anthropic from "@anthropic-ai/sdk";
import { MODEL, WEATHER, assert, failure, server, user } from "./expect.mjs";

const client = new Anthropic({ baseURL: server, apiKey: "none", maxRetries: 0 });
const tools = [{ name: "weather", description: "The weather of a city", input_schema: WEATHER }];
const asked = { model: MODEL, max_tokens: 100 };

export const cases = {
  async "anthropic: a whole message"() {
    const message = await client.messages.create({ ...asked, messages: user("one two") });
    assert.deepEqual(
      message.content.map((block) => block.text),
      ["one two"],
    );
    assert.equal(message.stop_reason, "end_turn");
  },

  async "anthropic: a streamed message"() {
    let text = "";
    const stream = client.messages.stream({ ...asked, messages: user("ein süßes Ei 🥚") });
    stream.on("text", (delta) => {
      text += delta;
    });
    const message = await stream.finalMessage();
    assert.equal(text, "ein süßes Ei 🥚");
    assert.ok(message.usage.output_tokens > 0);
  },

  async "anthropic: a tool and its result"() {
    const first = await client.messages.stream({ ...asked, messages: user("weather"), tools }).finalMessage();
    assert.equal(first.stop_reason, "tool_use");
    const call = first.content.find((block) => block.type === "tool_use");
    assert.deepEqual(call.input, { city: "Ulm" });
    const result = { type: "tool_result", tool_use_id: call.id, content: "sun" };
    const second = await client.messages.create({
      ...asked,
      tools,
      messages: [
        ...user("weather"),
        { role: "assistant", content: first.content },
        { role: "user", content: [result] },
      ],
    });
    assert.equal(second.content[0].text, "It is sun.");
  },

  async "anthropic: an unknown model is not found"() {
    const error = await failure(() => client.messages.create({ ...asked, model: "none", messages: user("x") }));
    assert.ok(error instanceof Anthropic.NotFoundError);
  },

  async "anthropic: a stream that breaks is an error"() {
    const error = await failure(() => client.messages.stream({ ...asked, messages: user("break") }).finalMessage());
    assert.ok(error instanceof Anthropic.AnthropicError);
  },
};
