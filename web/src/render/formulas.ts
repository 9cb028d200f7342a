// Formulas in Markdown: `$…$`, `$$…$$`, `\(…\)` and `\[…\]`. They are protected from Markdown here and shown by KaTeX later.

import type { TokenizerAndRendererExtension } from "marked";
import { escapeHtml } from "./highlight";

const MAX_CHARS = 4_000;
const DISPLAY = String.raw`\$\$(?!\$)(?:[^$\\]|\\[^]|\$(?!\$))+?\$\$|\\\[(?:[^\\]|\\(?!\]))+?\\\]`;
/** The opening `$` is followed by no space, the closing one follows no space and precedes no word character: `$5 to $10` is no formula. */
const INLINE = String.raw`\\\((?:[^\\]|\\(?!\)))+?\\\)|\$(?![\s$])(?:[^$\\\x60]|\\[^])+?(?<!\s)\$(?![\w$])`;

const AT_START = new RegExp(`^(?:(${DISPLAY})|${INLINE})`);
const ANYWHERE = new RegExp(String.raw`(?<![\\$])(?:${DISPLAY})|(?<![\w\\$])(?:${INLINE})`, "g");
const BLOCK = new RegExp(String.raw`^ {0,3}(${DISPLAY})[ \t]*(?:\n|$)`);
const BLANK_LINE = /\n[ \t]*\n/;
/** An amount of money that is followed by words. */
const PRICE = /^\$\d[\d.,]*\s+[a-z]{2,}/i;

function isFormula(source: string): boolean {
  return source.length <= MAX_CHARS && !PRICE.test(source);
}

/** The first paragraph of a text. A formula contains no blank line. */
function firstParagraph(text: string): string {
  const end = text.search(BLANK_LINE);
  return end < 0 ? text : text.slice(0, end + 1);
}

/** The formula that a text begins with. `before` is the character before the text. */
export function formulaAtStart(text: string, before: string): { source: string; display: boolean } | null {
  if (!/^(?:\$|\\[([])/.test(text)) return null;
  const found = AT_START.exec(firstParagraph(text.slice(0, MAX_CHARS + 1)));
  if (!found || !isFormula(found[0]) || (!found[1] && /[\w$]/.test(before))) return null;
  return { source: found[0], display: found[1] !== undefined };
}

/** Replace the formulas of a text by letters, so that their `*` and `_` are not read as emphasis. The length stays. */
export function maskFormulas(text: string): string {
  return /[$\\]/.test(text) ? text.replace(ANYWHERE, (source) => (isFormula(source) ? "x".repeat(source.length) : source)) : text;
}

export const BLOCK_FORMULA: TokenizerAndRendererExtension = {
  name: "blockFormula",
  level: "block",
  start: (src) => /\n {0,3}(?:\$\$|\\\[)/.exec(firstParagraph(src))?.index,
  tokenizer(src) {
    if (!/^ {0,3}(?:\$\$|\\\[)/.test(src)) return undefined;
    const found = BLOCK.exec(firstParagraph(src));
    return found && isFormula(found[1]!) ? { type: "blockFormula", raw: found[0], source: found[1] } : undefined;
  },
  renderer: (token) => `<p class="math display">${escapeHtml(token.source as string)}</p>\n`,
};

export const INLINE_FORMULA: TokenizerAndRendererExtension = {
  name: "inlineFormula",
  level: "inline",
  start: (src) => /\$|\\[([]/.exec(src)?.index,
  tokenizer(src, tokens) {
    const found = formulaAtStart(src, tokens.at(-1)?.raw.at(-1) ?? "");
    return found ? { type: "inlineFormula", raw: found.source, display: found.display } : undefined;
  },
  renderer: ({ raw, display }) => `<span class="${display ? "math display" : "math"}">${escapeHtml(raw)}</span>`,
};

/** Longer text after an opening delimiter is shown: it is probably no formula. */
const MAX_OPEN_INLINE = 120;
const MAX_OPEN_DISPLAY = 2_000;

/** The index of a formula at the end of a growing paragraph that is not complete, or -1. */
export function openFormulaIndex(paragraph: string): number {
  const masked = maskFormulas(paragraph).replace(/`[^`\n]*`/g, (code) => "x".repeat(code.length));
  const display = masked.search(/\$\$|\\\[/);
  if (display >= 0 && masked.length - display <= MAX_OPEN_DISPLAY) return display;
  const inline = masked.search(/\\\(|(?<![\w$\\])\$(?![\s\d$])[^\n]*$|\\$/);
  return inline >= 0 && masked.length - inline <= MAX_OPEN_INLINE ? inline : -1;
}

/** The TeX code of a formula, without its delimiters. */
export function texOf(source: string): string {
  return source.startsWith("$") && !source.startsWith("$$") ? source.slice(1, -1) : source.slice(2, -2);
}
