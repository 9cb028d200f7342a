import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, isStepCount, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { MODEL, assert, failure, server } from "./expect.mjs";

const legato = createOpenAICompatible({ name: "legato", baseURL: `${server}/v1`, includeUsage: true });
const until = isStepCount ?? stepCountIs;

export const cases = {
  async "ai: a whole text"() {
    const { text, usage, finishReason } = await generateText({ model: legato(MODEL), prompt: "one two" });
    assert.equal(text, "one two");
    assert.equal(finishReason, "stop");
    assert.ok(usage.outputTokens > 0);
  },

  async "ai: a streamed text"() {
    const { textStream, totalUsage } = streamText({ model: legato(MODEL), prompt: "ein süßes Ei 🥚" });
    let text = "";
    for await (const delta of textStream) text += delta;
    assert.equal(text, "ein süßes Ei 🥚");
    assert.ok((await totalUsage).outputTokens > 0);
  },

  async "ai: tools that the SDK runs"() {
    const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `sun in ${city}` });
    const { textStream } = streamText({
      model: legato(MODEL),
      prompt: "weather",
      tools: { weather },
      stopWhen: until(3),
    });
    let text = "";
    for await (const delta of textStream) text += delta;
    assert.equal(text, "It is sun in Ulm.");
  },

  async "ai: an unknown model is not found"() {
    const error = await failure(() => generateText({ model: legato("none"), prompt: "x", maxRetries: 0 }));
    assert.ok(APICallError.isInstance(error));
    assert.equal(error.statusCode, 404);
  },

  async "ai: a stream that breaks is an error"() {
    const errors = [];
    const { textStream } = streamText({
      model: legato(MODEL),
      prompt: "break",
      maxRetries: 0,
      onError: ({ error }) => errors.push(error),
    });
    let text = "";
    for await (const delta of textStream) text += delta;
    assert.equal(text, "half");
    assert.equal(errors.length, 1);
  },
};
