// Incomplete Markdown at the end of a running reply.

import { openFormulaIndex } from "./formulas";

const FENCE = /^ {0,3}(```|~~~)/gm;
const DELIMITER_ROW = /^[\s>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
/** A longer line without a pipe at its start is text, not the heading of a table. */
const MAX_TABLE_HEADING = 200;

/**
 * Close or remove the open markup at the end of the text. Without this, `**word` would be shown with its asterisks until
 * the closing ones arrive, and then change.
 */
export function closeMarkdown(text: string): string {
  if (isInCode(text)) return text;
  const start = lastParagraphIndex(text);
  const above = text.slice(0, start);
  let last = text.slice(start);
  const table = openTableIndex(last);
  if (table >= 0) return above + last.slice(0, table);
  const formula = openFormulaIndex(last);
  if (formula >= 0) last = last.slice(0, formula);
  // A lone marker at the end of a line may become a list, a heading, a rule or emphasis. Remove it until that is clear.
  last = last.replace(/(^|\n)[ \t]*(?:[-*+_#>]{1,6}|\d{1,3}[.)]?)[ \t]*$/, "$1");
  // So may the beginning of a safe tag or of a footnote.
  last = last.replace(/<\/?(?:s(?:u[bp]?)?|b(?:r\s?\/?)?|k(?:bd?)?)?$|\[\^[^\]\s]{0,40}$/i, "");
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

/** The index from which the text belongs to a formula that is not complete, or the length of the text. */
export function openFormulaStart(text: string): number {
  if (isInCode(text)) return text.length;
  const start = lastParagraphIndex(text);
  const formula = openFormulaIndex(text.slice(start));
  return formula < 0 ? text.length : start + formula;
}

function isInCode(text: string): boolean {
  return ((text.match(FENCE) ?? []).length & 1) === 1;
}

function lastParagraphIndex(text: string): number {
  return text.lastIndexOf("\n\n") + 1;
}

/**
 * The index of the heading of a table whose next row has not arrived, at the end of a paragraph, or -1. Until then the
 * heading would be shown as text.
 */
function openTableIndex(paragraph: string): number {
  const lines = paragraph.split("\n");
  const current = lines.at(-1)!;
  const previous = lines.at(-2) ?? "";
  if (lines.slice(0, -1).some((line) => line.includes("|") && DELIMITER_ROW.test(line))) return -1;
  if (looksLikeHeading(previous) && /^[\s>]*[|:-][-:|\s]*$|^[\s>]*$/.test(current)) return paragraph.length - current.length - 1 - previous.length;
  return looksLikeHeading(current) ? paragraph.length - current.length : -1;
}

function looksLikeHeading(line: string): boolean {
  const bare = line.replace(/`[^`]*`/g, "");
  return /^[\s>]*\|/.test(bare) || (bare.length <= MAX_TABLE_HEADING && / \| /.test(bare));
}

function count(text: string, pattern: RegExp): number {
  return (text.match(pattern) ?? []).length;
}
