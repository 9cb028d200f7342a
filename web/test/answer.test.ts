import { describe, expect, test } from "vitest";
import { told } from "../src/state/answer";

const ORIGIN = "https://music.example";

function answer(name: string, text: string, failed = false) {
  return told({ type: "command", name, text, failed }, ORIGIN);
}

describe("a command's answer", () => {
  test("is its Markdown, as a rule", () => {
    expect(answer("who", "Only you.")).toEqual({ text: "Only you.", copy: null, keep: null, fetch: null });
    expect(answer("export", "Say it as `/export`.", true).keep).toBeNull();
  });

  test("that invites has a whole link", () => {
    const { text, copy } = answer("invite", "Whoever opens this can read:\n\n`#/join/a-B_1`\n\nPut it behind the address of this server. It is shown this once.");
    expect(copy).toBe("https://music.example/#/join/a-B_1");
    expect(text).toBe("Whoever opens this can read:\n\n`https://music.example/#/join/a-B_1`\n\nIt is shown this once.");
  });

  test("that exports is text to keep", () => {
    expect(answer("export", "# A talk\n\n## You\n\nHello").keep).toEqual({ text: "# A talk\n\n## You\n\nHello", ending: "md" });
    expect(answer("export", '````json\n{"a": "```"}\n````').keep).toEqual({ text: '{"a": "```"}', ending: "json" });
  });

  test("that is too long to be shown is a file to fetch", () => {
    const path = "/api/conversations/c/export?format=markdown";
    expect(answer("export", `It is too long to be shown here. Fetch it as a file: \`GET ${path}\``).fetch).toBe(path);
    expect(answer("export", `# A talk\n\n\`GET ${path}\``).fetch).toBeNull();
  });
});
