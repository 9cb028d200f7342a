// Markdown to HTML, block by block. What comes out is escaped already, and is purified once more before it is shown.

import { type Token, type TokenizerAndRendererExtension, type Tokens, Marked } from "marked";
import { escape, highlight } from "./highlight";

const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;

/** Quotes and lists in one another, more of them on one line than anybody writes: every parser's stack ends somewhere. */
const TOO_DEEP = /^[ \t]*(?:>[ \t]?|[-*+][ \t]+|\d{1,9}[.)][ \t]+){40}/m;
const DEEPEST = 60;

export class TooDeepError extends Error {}

/** What a footnote says, each in a paragraph of its own: the parser would take it for the address of a link, and show nothing. */
const NOTE: TokenizerAndRendererExtension = {
  name: "note",
  level: "block",
  start(src) {
    const end = src.indexOf("\n\n");
    return /\n {0,3}\[\^[^\]\s]+\]:/.exec(end < 0 ? src : src.slice(0, end))?.index;
  },
  tokenizer(src) {
    const found = /^ {0,3}(\[\^[^\]\s]+\]:[^\n]*(?:\n(?! {0,3}\[\^)[^\n]*\S[^\n]*)*)(?:\n|$)/.exec(src);
    return found ? { type: "note", raw: found[0], tokens: this.lexer.inline(found[1]!) } : undefined;
  },
  renderer(token) {
    return `<p>${this.parser.parseInline(token.tokens ?? [])}</p>\n`;
  },
};

/** Mathematics is shown as it was written: its backslashes are not escapes, nor its underscores emphasis. */
const MATHEMATICS: TokenizerAndRendererExtension = {
  name: "mathematics",
  level: "inline",
  start: (src) => /\\[([]/.exec(src)?.index,
  tokenizer(src) {
    const found = /^(?:\\\((?:[^\\]|\\[^)]){0,2000}\\\)|\\\[(?:[^\\]|\\[^\]]){0,2000}\\\])/.exec(src);
    return found ? { type: "mathematics", raw: found[0] } : undefined;
  },
  renderer: ({ raw }) => escape(raw),
};

function anchor(href: string, inner: string): string {
  if (!SAFE_LINK.test(href)) return inner;
  return `<a href="${escape(href)}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
}

const marked = new Marked({
  gfm: true,
  extensions: [NOTE, MATHEMATICS],
  tokenizer: {
    /** Half of a formula is as good as a whole one: it may be all that came so far. */
    escape(src) {
      const raw = /^\\[()[\]]/.exec(src)?.[0];
      return raw ? { type: "escape", raw, text: raw } : false;
    },
  },
  renderer: {
    html: ({ text }) => escape(text),
    // An image would be fetched from wherever the model says, with whatever it put into the address: a link is not.
    image: ({ href, text }) => anchor(href, escape(text || "image")),
    link({ href, tokens }) {
      return anchor(href, this.parser.parseInline(tokens));
    },
    code({ text, lang }) {
      const name = (lang ?? "").trim().split(/\s/)[0]!.toLowerCase().slice(0, 24);
      return (
        `<div class="code" dir="ltr"><div class="code-head"><span>${escape(name || "text")}</span>` +
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
    checkbox: ({ checked }) => `<span class="box">${checked ? "☑" : "☐"}</span> `,
  },
});

export type Links = Record<string, { href: string | null; title: string | null }>;

/** The blocks of `text`. `links` are the references that were defined above it. */
export function lex(text: string, links: Links): Token[] {
  if (TOO_DEEP.test(text)) throw new TooDeepError();
  const lexer = new marked.Lexer(marked.defaults);
  Object.assign(lexer.tokens.links, links);
  const tokens = lexer.lex(text);
  if (deeper(tokens, DEEPEST)) throw new TooDeepError();
  return tokens;
}

export function html(token: Token): string {
  return marked.parser([token]);
}

/** Whether tokens stand in one another more than `limit` deep. */
function deeper(tokens: Token[], limit: number): boolean {
  if (limit === 0) return true;
  return tokens.some((token) => {
    const inner = [...("tokens" in token && token.tokens ? token.tokens : []), ...("items" in token ? (token.items as Token[]) : [])];
    return inner.length > 0 && deeper(inner, limit - 1);
  });
}
