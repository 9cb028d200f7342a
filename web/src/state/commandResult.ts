// The result of a command in the form that the page shows. For some commands the page shows more than the Markdown text:
// a complete invitation link, an export that can be copied or saved. It reads them from the data of the result.

import type { CommandAnswer, InvitationData } from "../protocol";

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

/** Return what the page shows of a command's result. `home` is the address of the server as the browser sees it; the server does not know it. */
export function commandResultContent(result: CommandAnswer, home: string): CommandResultContent {
  const content = { text: result.text, copyText: null, exported: null, downloadPath: null };
  const { data } = result;
  if (data?.type === "invitation") {
    const link = `${home}/${data.path}`;
    return { ...content, text: invitationText(data, link), copyText: link };
  }
  if (data?.type === "export") {
    if (data.path) return { ...content, text: "It is too long to be shown here. Save it as a file.", downloadPath: data.path };
    const text = data.content ?? "";
    return { ...content, copyText: text, exported: { text, extension: data.format === "json" ? "json" : "md" } };
  }
  return content;
}

function invitationText(invitation: InvitationData, link: string): string {
  const may = invitation.standing === "viewer" ? "read" : "read and write";
  return `Anyone who opens this link within ${span(invitation.seconds)} can ${may} here:\n\n\`${link}\`\n\nCopy it now: it is not shown again.`;
}

const UNITS: readonly [string, number][] = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** Return a time in words, rounded up. */
function span(seconds: number): string {
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? ["second", 1];
  const count = Math.ceil(seconds / length);
  return `${count} ${unit}${count > 1 ? "s" : ""}`;
}
