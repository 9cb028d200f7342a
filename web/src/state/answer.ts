// A command's answer as the page can show it: more than its Markdown, where the page knows more than the server does.

import type { CommandAnswer } from "../protocol";

export interface Told {
  /** Markdown. */
  text: string;
  /** What is worth copying of it. */
  copy: string | null;
  /** A conversation as text to keep, shown as it is in place of the Markdown. */
  keep: { text: string; ending: "md" | "json" } | null;
  /** Where the server gives what was too long for an answer. */
  fetch: string | null;
}

const INVITATION = /#\/join\/[\w-]+/;
const FENCED_JSON = /^(`{3,})json\n([^]*)\n\1\s*$/;
const FETCHED = /^[^\n`]*`GET (\/api\/conversations\/[^\s`]+\/export\?format=\w+)`$/;

/** `origin` is the address of the page, which the server does not know. */
export function told(answer: CommandAnswer, origin: string): Told {
  const plain = { text: answer.text, copy: null, keep: null, fetch: null };
  if (answer.failed) return plain;
  if (answer.name === "invite") {
    const hash = INVITATION.exec(answer.text)?.[0];
    if (!hash) return plain;
    const link = `${origin}/${hash}`;
    return { ...plain, text: answer.text.replace(hash, link).replace("Put it behind the address of this server. ", ""), copy: link };
  }
  if (answer.name === "export") {
    const path = FETCHED.exec(answer.text)?.[1];
    if (path) return { ...plain, text: "It is too long to be shown here. Save it as a file.", fetch: path };
    const json = FENCED_JSON.exec(answer.text)?.[2];
    const text = json ?? answer.text;
    return { ...plain, copy: text, keep: { text, ending: json === undefined ? "md" : "json" } };
  }
  return plain;
}
