import { createOpenAI } from "@ai-sdk/openai";
import { generateText, isStepCount, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { z } from "zod";
import { MODEL, assert, server } from "./expect.mjs";

const client = new OpenAI({ baseURL: `${server}/v1`, apiKey: "none", maxRetries: 0 });
const legato = createOpenAI({ baseURL: `${server}/v1`, apiKey: "none" });
const until = isStepCount ?? stepCountIs;

export const cases = {
  async "responses: a broken one says so"() {
    assert.equal((await client.responses.create({ model: MODEL, input: "break" })).status, "failed");
  },

  async "responses: ai takes text, thoughts and tools from them"() {
    const { text, usage, warnings } = await generateText({ model: legato(MODEL), prompt: "one two" });
    assert.deepEqual([text, usage.outputTokens, warnings ?? []], ["one two", 2, []]);
    const thinking = streamText({ model: legato(MODEL), prompt: "think so" });
    assert.equal(await thinking.text, "think so");
    assert.equal(await thinking.reasoningText, "Hm.");
    const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `sun in ${city}` });
    const asking = streamText({ model: legato(MODEL), prompt: "weather", tools: { weather }, stopWhen: until(3) });
    assert.equal(await asking.text, "It is sun in Ulm.");
  },
};
