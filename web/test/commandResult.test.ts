import { describe, expect, test } from "vitest";
import { parseCommandResult } from "../src/state/commandResult";

const ORIGIN = "https://music.example";

function parse(name: string, text: string, failed = false) {
  return parseCommandResult({ type: "command", name, text, failed }, ORIGIN);
}

describe("the result of a command", () => {
  test("is Markdown for most commands", () => {
    expect(parse("who", "Only you.")).toEqual({ text: "Only you.", copyText: null, exported: null, downloadPath: null });
    expect(parse("export", "Say it as `/export`.", true).exported).toBeNull();
  });

  test("has a complete link for /invite", () => {
    const { text, copyText } = parse("invite", "Whoever opens this can read:\n\n`#/join/a-B_1`\n\nPut it behind the address of this server. It is shown this once.");
    expect(copyText).toBe("https://music.example/#/join/a-B_1");
    expect(text).toBe("Whoever opens this can read:\n\n`https://music.example/#/join/a-B_1`\n\nIt is shown this once.");
  });

  test("has the exported text for /export", () => {
    expect(parse("export", "# A talk\n\n## You\n\nHello").exported).toEqual({ text: "# A talk\n\n## You\n\nHello", extension: "md" });
    expect(parse("export", '````json\n{"a": "```"}\n````').exported).toEqual({ text: '{"a": "```"}', extension: "json" });
  });

  test("has a download path if the export is too long to be shown", () => {
    const path = "/api/conversations/c/export?format=markdown";
    expect(parse("export", `It is too long to be shown here. Fetch it as a file: \`GET ${path}\``).downloadPath).toBe(path);
    expect(parse("export", `# A talk\n\n\`GET ${path}\``).downloadPath).toBeNull();
  });
});
