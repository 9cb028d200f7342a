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

  async "openai: a streamed response, and the one behind it"() {
    const stream = client.responses.stream({ model: MODEL, input: "ein süßes Ei 🥚" });
    let text = "";
    stream.on("response.output_text.delta", (event) => {
      text += event.delta;
    });
    const first = await stream.finalResponse();
    assert.equal(text, "ein süßes Ei 🥚");
    assert.equal(first.output_text, text);
    const second = await client.responses.create({ model: MODEL, input: "two", previous_response_id: first.id });
    assert.equal(second.output_text, "two");
    assert.equal(second.status, "completed");
  },

  async "openai: a response in the background is taken up again"() {
    const numbers = [];
    let id = null;
    for await (const event of await client.responses.create({
      model: MODEL,
      input: "one two three four",
      background: true,
      stream: true,
    })) {
      numbers.push(event.sequence_number);
      id = event.response?.id ?? id;
      if (event.type === "response.output_text.delta") break;
    }
    let last = null;
    for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: numbers.at(-1) })) {
      numbers.push(event.sequence_number);
      last = event;
    }
    assert.deepEqual(numbers, [...numbers.keys()]);
    assert.equal(last.type, "response.completed");
    assert.equal((await client.responses.retrieve(id)).output_text, "one two three four");
  },

  async "openai: a tool of a response"() {
    const tool = { type: "function", name: "weather", parameters: WEATHER, strict: false };
    const first = await client.responses.create({ model: MODEL, input: "weather", tools: [tool] });
    const call = first.output.find((item) => item.type === "function_call");
    assert.deepEqual(JSON.parse(call.arguments), { city: "Ulm" });
    const second = await client.responses.create({
      model: MODEL,
      tools: [tool],
      previous_response_id: first.id,
      input: [{ type: "function_call_output", call_id: call.call_id, output: "sun" }],
    });
    assert.equal(second.output_text, "It is sun.");
  },

  async "openai: the models"() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.ok(names.includes(MODEL));
    assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
  },
};
