// The result of a command in the form that the page shows. For some commands the page shows more than the Markdown text:
// a complete invitation link, an export that can be copied or saved.

import type { CommandAnswer } from "../protocol";

export interface CommandResultContent {
  /** Markdown. */
  text: string;
  /** The part that the copy button copies, or null if there is no copy button. */
  copyText: string | null;
  /** An exported conversation. It is shown as plain text instead of the Markdown. */
  exported: { text: string; extension: "md" | "json" } | null;
  /** The path of an export on the server that is too long for a command result. */
  downloadPath: string | null;
}

const INVITATION_HASH = /#\/join\/[\w-]+/;
const FENCED_JSON = /^(`{3,})json\n([^]*)\n\1\s*$/;
const DOWNLOAD = /^[^\n`]*`GET (\/api\/conversations\/[^\s`]+\/export\?format=\w+)`$/;

/** Parse the result of a command. `origin` is the origin of the page; the server does not know it. */
export function parseCommandResult(result: CommandAnswer, origin: string): CommandResultContent {
  const markdown = { text: result.text, copyText: null, exported: null, downloadPath: null };
  if (result.failed) return markdown;
  if (result.name === "invite") {
    const hash = INVITATION_HASH.exec(result.text)?.[0];
    if (!hash) return markdown;
    const link = `${origin}/${hash}`;
    return { ...markdown, text: result.text.replace(hash, link).replace("Put it behind the address of this server. ", ""), copyText: link };
  }
  if (result.name === "export") {
    const path = DOWNLOAD.exec(result.text)?.[1];
    if (path) return { ...markdown, text: "It is too long to be shown here. Save it as a file.", downloadPath: path };
    const json = FENCED_JSON.exec(result.text)?.[2];
    const text = json ?? result.text;
    return { ...markdown, copyText: text, exported: { text, extension: json === undefined ? "md" : "json" } };
  }
  return markdown;
}
