import OpenAI from "openai";
import { MODEL, WEATHER, assert, failure, server, user } from "./expect.mjs";

const client = new OpenAI({ baseURL: `${server}/v1`, apiKey: "none", maxRetries: 0 });
const tools = [{ type: "function", function: { name: "weather", parameters: WEATHER } }];

export const cases = {
  async "openai: a whole completion"() {
    const done = await client.chat.completions.create({ model: MODEL, messages: user("one two") });
    assert.equal(done.choices[0].message.content, "one two");
    assert.equal(done.choices[0].finish_reason, "stop");
    assert.equal(done.usage.total_tokens, done.usage.prompt_tokens + done.usage.completion_tokens);
  },

  async "openai: a streamed completion"() {
    const stream = await client.chat.completions.create({
      model: MODEL,
      messages: user("ein süßes Ei 🥚\n\ndata: x"),
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, "ein süßes Ei 🥚\n\ndata: x");
    assert.ok(usage.completion_tokens > 0);
  },

  async "openai: tools that the SDK runs"() {
    const asked = [];
    const runner = client.chat.completions.runTools({
      model: MODEL,
      messages: user("weather"),
      stream: true,
      tools: [
        {
          type: "function",
          function: {
            name: "weather",
            parameters: WEATHER,
            parse: JSON.parse,
            function: ({ city }) => {
              asked.push(city);
              return "sun";
            },
          },
        },
      ],
    });
    assert.equal(await runner.finalContent(), "It is sun.");
    assert.deepEqual(asked, ["Ulm"]);
  },

  async "openai: an unknown model is not found"() {
    const error = await failure(() => client.chat.completions.create({ model: "none", messages: user("x") }));
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.param, "model");
  },

  async "openai: a wrong field is named"() {
    const error = await failure(() =>
      client.chat.completions.create({ model: MODEL, messages: user("x"), tools, temperature: 9 }),
    );
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
  },

  async "openai: a stream that breaks is an error"() {
    let text = "";
    const error = await failure(async () => {
      const stream = await client.chat.completions.create({ model: MODEL, messages: user("break"), stream: true });
      for await (const chunk of stream) text += chunk.choices[0].delta.content ?? "";
    });
    assert.ok(error instanceof OpenAI.APIError);
    assert.equal(text, "half");
  },

  async "openai: the models"() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.ok(names.includes(MODEL));
    assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
  },
};
