import { describe, expect, test } from "vitest";
import type { CommandAnswer } from "../src/protocol";
import { commandResultContent } from "../src/state/commandResult";

const ORIGIN = "https://music.example";

function content(name: string, text: string, data: NonNullable<CommandAnswer["data"]> | null = null, failed = false) {
  return commandResultContent({ type: "command", name, text, failed, data }, ORIGIN);
}

describe("the result of a command", () => {
  test("is Markdown for most commands", () => {
    expect(content("who", "Only you.")).toEqual({ text: "Only you.", copyText: null, exported: null, downloadPath: null });
    expect(content("export", "Say it as `/export`.", null, true).exported).toBeNull();
  });

  test("is its text if the text only looks like an invitation or a path", () => {
    expect(content("invite", "`#/join/a-B_1`").copyText).toBeNull();
    expect(content("export", "`GET /api/conversations/c/export?format=markdown`").downloadPath).toBeNull();
  });

  test("has a complete link for /invite", () => {
    const invitation = { type: "invitation" as const, invitation: "i", path: "#/join/a-B_1", standing: "viewer" as const, expires_at: "2026-01-01T00:00:00Z", seconds: 604800 };
    const { text, copyText } = content("invite", "Whoever opens this can read:\n\n`#/join/a-B_1`\n\nPut it behind the address of this server.", invitation);
    expect(copyText).toBe("https://music.example/#/join/a-B_1");
    expect(text).toBe("Anyone who opens this link within 7 days can read here:\n\n`https://music.example/#/join/a-B_1`\n\nCopy it now: it is not shown again.");
    expect(content("invite", "", { ...invitation, standing: "member", seconds: 1 }).text).toMatch(/^Anyone who opens this link within 1 second can read and write here:/);
  });

  test("has the exported text for /export", () => {
    const markdown = "# A talk\n\n## You\n\nHello";
    expect(content("export", markdown, { type: "export", format: "markdown", content: markdown }).exported).toEqual({ text: markdown, extension: "md" });
    const json = '{"a": "```"}';
    expect(content("export", `\`\`\`\`json\n${json}\n\`\`\`\``, { type: "export", format: "json", content: json }).exported).toEqual({ text: json, extension: "json" });
  });

  test("has a download path if the export is too long to be shown", () => {
    const path = "/api/conversations/c/export?format=markdown";
    const { downloadPath, text } = content("export", "It is too long to be shown here.", { type: "export", format: "markdown", path });
    expect(downloadPath).toBe(path);
    expect(text).toBe("It is too long to be shown here. Save it as a file.");
  });
});
