// `useChat` on a page of its own: happy-dom in place of a browser, the real React and the real library.
import { Window } from "happy-dom";
import { assert, server, until } from "./expect.mjs";

const window = new Window({ url: server });
Object.assign(globalThis, { window, document: window.document });
const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");

const tools = { weather: { description: "The weather of a city", inputSchema: { type: "object" } } };
let chats = 0;

// A page with one chat. `leave` cuts its connections, as a browser does that loads the page again.
class Page {
  constructor(library, options) {
    this.requests = [];
    const page = new AbortController();
    this.leave = () => {
      page.abort();
      this.root.unmount();
    };
    const transport = new library.DefaultChatTransport({
      api: `${server}/ai/chat`,
      body: { model: "default", ...options.body },
      fetch: async (address, { signal, ...request }) => {
        const signals = signal ? [page.signal, signal] : [page.signal];
        const answer = await fetch(address, { ...request, signal: AbortSignal.any(signals) });
        this.requests.push(`${request.method ?? "GET"} ${answer.status}`);
        return answer;
      },
    });
    const Chat = () => {
      this.chat = library.useChat({ transport, ...options });
      return null;
    };
    this.root = createRoot(document.createElement("div"));
    this.root.render(createElement(Chat));
  }

  get text() {
    const last = this.chat?.messages.at(-1);
    return last?.role === "assistant" ? textOf(last) : "";
  }

  async ready() {
    await until(() => this.chat !== undefined);
    return this.chat;
  }

  async done() {
    await until(() => this.chat?.status === "ready" || this.chat?.status === "error");
  }
}

const textOf = (message) =>
  message.parts
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("|");

const kinds = (page) => page.chat.messages.map((message) => message.role);

const stop = (id) => fetch(`${server}/ai/chat/${encodeURIComponent(id)}/stop`, { method: "POST" });

function casesOf(name, library, go) {
  const newId = () => `${name} chat/${++chats}`;
  return {
    async [`${name}: a reply, and a regenerated one`]() {
      const page = new Page(library, { id: newId() });
      await (await page.ready()).sendMessage({ text: "think süß 🥚" });
      await page.done();
      assert.equal(page.text, "think süß 🥚");
      const { parts, metadata } = page.chat.messages.at(-1);
      assert.deepEqual(
        parts.map((part) => part.type),
        ["step-start", "reasoning", "text"],
      );
      assert.ok(metadata.usage.outputTokens > 0);
      await page.chat.regenerate();
      await page.done();
      assert.deepEqual(kinds(page), ["user", "assistant"]);
      assert.equal(page.text, "think süß 🥚");
      page.leave();
    },

    async [`${name}: a tool of the page`]() {
      const page = new Page(library, {
        id: newId(),
        body: { tools },
        sendAutomaticallyWhen: library.lastAssistantMessageIsCompleteWithToolCalls,
        onToolCall: ({ toolCall }) => {
          page.chat.addToolOutput({
            tool: toolCall.toolName,
            toolCallId: toolCall.toolCallId,
            output: `sun in ${toolCall.input.city}`,
          });
        },
      });
      await (await page.ready()).sendMessage({ text: "weather" });
      await until(() => page.text === "It is sun in Ulm." && page.chat.status === "ready");
      assert.deepEqual(kinds(page), ["user", "assistant"]);
      page.leave();
    },

    async [`${name}: a page that is loaded again resumes`]() {
      const id = newId();
      const first = new Page(library, { id });
      void (await first.ready()).sendMessage({ text: "wait for me" });
      await until(() => first.text === "wait ");
      const stored = first.chat.messages.slice(0, 1);
      first.leave();
      const second = new Page(library, { id, messages: stored, resume: true });
      await until(() => second.text === "wait ");
      assert.equal(second.chat.status, "streaming");
      go();
      await second.done();
      assert.equal(second.text, "wait for me");
      assert.equal(second.chat.error, undefined);
      assert.deepEqual(kinds(second), ["user", "assistant"]);
      second.leave();
      const third = new Page(library, { id, messages: second.chat.messages, resume: true });
      await until(() => third.requests.length === 1);
      assert.deepEqual(third.requests, ["GET 204"]);
      assert.equal(third.text, "wait for me");
      third.leave();
    },

    async [`${name}: a page that is loaded again behind a tool resumes its message`]() {
      const id = newId();
      let calls = 0;
      const options = {
        id,
        body: { tools },
        sendAutomaticallyWhen: library.lastAssistantMessageIsCompleteWithToolCalls,
      };
      const first = new Page(library, {
        ...options,
        onToolCall: ({ toolCall: { toolName, toolCallId } }) => {
          calls++;
          first.chat.addToolOutput({ tool: toolName, toolCallId, output: "wait for sun" });
        },
      });
      void (await first.ready()).sendMessage({ text: "weather" });
      await until(() => first.text === "It ");
      const stored = JSON.parse(JSON.stringify(first.chat.messages));
      first.leave();
      const second = new Page(library, { ...options, messages: stored, resume: true, onToolCall: () => calls++ });
      await until(() => second.text === "It " && second.chat.status === "streaming");
      go();
      await second.done();
      assert.equal(second.text, "It is wait for sun.");
      assert.deepEqual(kinds(second), ["user", "assistant"]);
      const tool = second.chat.messages[1].parts.find((part) => part.type === "tool-weather");
      assert.deepEqual([tool.state, tool.input, tool.output], ["output-available", { city: "Ulm" }, "wait for sun"]);
      assert.equal(calls, 1);
      assert.deepEqual(second.requests, ["GET 200"]);
      second.leave();
    },

    async [`${name}: a stop is no error`]() {
      const id = newId();
      const page = new Page(library, { id });
      void (await page.ready()).sendMessage({ text: "wait for me" });
      await until(() => page.text === "wait ");
      assert.equal((await stop(id)).status, 204);
      await page.done();
      assert.equal(page.chat.status, "ready");
      assert.equal(page.text, "wait ");
      page.leave();
    },

    async [`${name}: errors are sentences`]() {
      const broken = new Page(library, { id: newId() });
      await (await broken.ready()).sendMessage({ text: "break" });
      await broken.done();
      assert.equal(broken.text, "half");
      assert.match(broken.chat.error.message, /broke/);
      broken.leave();
      const unknown = new Page(library, { id: newId(), body: { model: "none" } });
      await (await unknown.ready()).sendMessage({ text: "x" });
      await unknown.done();
      assert.match(unknown.chat.error.message, /^There is no model 'none' here\./);
      unknown.leave();
    },
  };
}

// Return the cases of all versions of the library. `go` lets a reply to "wait for me" go on.
export async function useChatCases(go) {
  const versions = { useChat: ["ai", "@ai-sdk/react"], "useChat of ai 6": ["ai-6", "@ai-sdk/react-3"],
    "useChat of ai 5": ["ai-5", "@ai-sdk/react-2"] };
  const cases = {};
  for (const [name, packages] of Object.entries(versions)) {
    const [ai, react] = await Promise.all(packages.map((each) => import(each)));
    Object.assign(cases, casesOf(name, { ...ai, useChat: react.useChat }, go));
  }
  return cases;
}
