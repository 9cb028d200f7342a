// Runs all cases and writes a line of JSON for each: {"case", "error"}. {"go": true} asks the test to let a reply go on.
import { cases as ai } from "./ai.mjs";
import { cases as anthropic } from "./anthropic.mjs";
import { cases as ollama } from "./ollama.mjs";
import { cases as openai } from "./openai.mjs";
import { cases as responses } from "./responses.mjs";

const SECONDS = 60;

const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function run(cases) {
  for (const [name, run] of Object.entries(cases)) {
    let error = null;
    const late = setTimeout(() => {
      write({ case: name, error: `it did not end within ${SECONDS} s` });
      process.exit(1);
    }, SECONDS * 1000);
    try {
      await run();
    } catch (caught) {
      error = caught.stack ?? String(caught);
    }
    clearTimeout(late);
    write({ case: name, error });
  }
}

await run({ ...openai, ...responses, ...anthropic, ...ollama, ...ai });
// The SDKs would take the globals of a page for a browser.
const { useChatCases } = await import("./use_chat.mjs");
await run(await useChatCases(() => write({ go: true })));
process.exit(0);
