// Markdown to HTML, token by token. The HTML is escaped here, and sanitized once more before it is shown.

import { type Token, type TokenizerAndRendererExtension, type Tokens, Marked } from "marked";
import { escapeHtml, highlight } from "./highlight";

const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;

/** Forty nested quotes or lists on one line. Deeper nesting could overflow the stack of the parser. */
const DEEP_MARKERS = /^[ \t]*(?:>[ \t]?|[-*+][ \t]+|\d{1,9}[.)][ \t]+){40}/m;
const MAX_DEPTH = 60;

export class NestingTooDeepError extends Error {}

/** The text of a footnote, as a paragraph. Without this, the parser reads it as a link definition and shows nothing. */
const FOOTNOTE: TokenizerAndRendererExtension = {
  name: "footnote",
  level: "block",
  start(src) {
    const end = src.indexOf("\n\n");
    return /\n {0,3}\[\^[^\]\s]+\]:/.exec(end < 0 ? src : src.slice(0, end))?.index;
  },
  tokenizer(src) {
    const found = /^ {0,3}(\[\^[^\]\s]+\]:[^\n]*(?:\n(?! {0,3}\[\^)[^\n]*\S[^\n]*)*)(?:\n|$)/.exec(src);
    return found ? { type: "footnote", raw: found[0], tokens: this.lexer.inline(found[1]!) } : undefined;
  },
  renderer(token) {
    return `<p>${this.parser.parseInline(token.tokens ?? [])}</p>\n`;
  },
};

/** Formulas are shown as source text: their backslashes are not escapes, and their underscores are not emphasis. */
const MATH: TokenizerAndRendererExtension = {
  name: "math",
  level: "inline",
  start: (src) => /\\[([]/.exec(src)?.index,
  tokenizer(src) {
    const found = /^(?:\\\((?:[^\\]|\\[^)]){0,2000}\\\)|\\\[(?:[^\\]|\\[^\]]){0,2000}\\\])/.exec(src);
    return found ? { type: "math", raw: found[0] } : undefined;
  },
  renderer: ({ raw }) => escapeHtml(raw),
};

function linkHtml(href: string, inner: string): string {
  if (!SAFE_LINK.test(href)) return inner;
  return `<a href="${escapeHtml(href)}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
}

const marked = new Marked({
  gfm: true,
  extensions: [FOOTNOTE, MATH],
  tokenizer: {
    /** Keep the backslash before a bracket: it may be the beginning of a formula that has not arrived completely. */
    escape(src) {
      const raw = /^\\[()[\]]/.exec(src)?.[0];
      return raw ? { type: "escape", raw, text: raw } : false;
    },
  },
  renderer: {
    html: ({ text }) => escapeHtml(text),
    // The browser would fetch an image from any address that the model writes, and so leak data. A link is not fetched.
    image: ({ href, text }) => linkHtml(href, escapeHtml(text || "image")),
    link({ href, tokens }) {
      return linkHtml(href, this.parser.parseInline(tokens));
    },
    code({ text, lang }) {
      const name = (lang ?? "").trim().split(/\s/)[0]!.toLowerCase().slice(0, 24);
      return (
        `<div class="code" dir="ltr"><div class="code-header"><span>${escapeHtml(name || "text")}</span>` +
        `<button type="button" class="code-copy">Copy</button></div>` +
        `<pre tabindex="0"><code>${highlight(text, name)}\n</code></pre></div>`
      );
    },
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level} class="h${depth}">${this.parser.parseInline(tokens)}</h${level}>`;
    },
    table(token) {
      const row = (cells: Tokens.TableCell[], tag: string) =>
        `<tr>${cells
          .map((cell) => {
            const align = cell.align ? ` class="${cell.align}"` : "";
            return `<${tag}${align}>${this.parser.parseInline(cell.tokens)}</${tag}>`;
          })
          .join("")}</tr>`;
      const body = token.rows.map((cells) => row(cells, "td")).join("");
      return `<div class="table" tabindex="0"><table><thead>${row(token.header, "th")}</thead><tbody>${body}</tbody></table></div>`;
    },
    checkbox: ({ checked }) => `<span class="checkbox">${checked ? "☑" : "☐"}</span> `,
  },
});

export type LinkDefinitions = Record<string, { href: string | null; title: string | null }>;

/**
 * Parse a text into block tokens. `links` are the link definitions above it.
 *
 * @throws NestingTooDeepError
 */
export function tokenize(text: string, links: LinkDefinitions): Token[] {
  if (DEEP_MARKERS.test(text)) throw new NestingTooDeepError();
  const lexer = new marked.Lexer(marked.defaults);
  Object.assign(lexer.tokens.links, links);
  const tokens = lexer.lex(text);
  if (exceedsDepth(tokens, MAX_DEPTH)) throw new NestingTooDeepError();
  return tokens;
}

export function renderToken(token: Token): string {
  return marked.parser([token]);
}

/** Whether tokens are nested deeper than `limit`. */
function exceedsDepth(tokens: Token[], limit: number): boolean {
  if (limit === 0) return true;
  return tokens.some((token) => {
    const inner = [...("tokens" in token && token.tokens ? token.tokens : []), ...("items" in token ? (token.items as Token[]) : [])];
    return inner.length > 0 && exceedsDepth(inner, limit - 1);
  });
}
