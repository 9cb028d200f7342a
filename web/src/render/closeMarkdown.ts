// Incomplete Markdown at the end of a running reply.

const FENCE = /^ {0,3}(```|~~~)/gm;

/**
 * Close or remove the open markup at the end of the text. Without this, `**word` would be shown with its asterisks until
 * the closing ones arrive, and then change.
 */
export function closeMarkdown(text: string): string {
  if (((text.match(FENCE) ?? []).length & 1) === 1) return text;
  const start = text.lastIndexOf("\n\n") + 1;
  const above = text.slice(0, start);
  let last = text.slice(start);
  if (/^\n?\|[^\n]*(?:\n\|[-:| ]*)?$/.test(last)) return above;
  // A lone marker at the end of a line may become a list, a heading, a rule or emphasis. Remove it until that is clear.
  last = last.replace(/(^|\n)[ \t]*(?:[-*+_#>]{1,6}|\d{1,3}[.)]?)[ \t]*$/, "$1");
  if (count(last, /`/g) % 2 === 1) return above + (last.endsWith("`") ? last.replace(/`+$/, "") : `${last}\``);
  const prose = last.replace(/`[^`]*`/g, (code) => "x".repeat(code.length));
  const open = prose.lastIndexOf("[");
  if (open >= 0 && /^\[[^\]\n]*\]\([^()\s]*$/.test(prose.slice(open))) {
    const image = prose[open - 1] === "!" ? 1 : 0;
    last = last.slice(0, open - image) + last.slice(open + 1, last.indexOf("]", open));
  }
  if (count(prose, /\*\*/g) % 2 === 1) {
    last = /\*\*\s*$/.test(last) ? last.replace(/\s*\*\*\s*$/, "") : `${last.trimEnd().replace(/\*$/, "")}**`;
  }
  return above + last;
}

function count(text: string, pattern: RegExp): number {
  return (text.match(pattern) ?? []).length;
}
