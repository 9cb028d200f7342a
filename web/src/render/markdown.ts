// Markdown to HTML, block by block. The HTML is escaped here, and sanitized once more before it is shown.

import { Lexer, type Token, type TokenizerAndRendererExtension, type Tokens, Marked } from "marked";
import { BLOCK_FORMULA, INLINE_FORMULA, maskFormulas } from "./formulas";
import { escapeHtml, highlight } from "./highlight";

const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;
/** The HTML tags that are shown as such. They have no attributes. */
const SAFE_TAG = /^<(?:br\s*\/?|\/?(?:sub|sup|kbd))>$/i;
const STARTS_WITH_SAFE_TAG = /^ {0,3}<\/?(?:br|sub|sup|kbd)\s*\/?>/i;

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
    const found = /^ {0,3}\[\^([^\]\s]+)\]:[ \t]*([^\n]*(?:\n(?! {0,3}\[\^)[^\n]*\S[^\n]*)*)(?:\n|$)/.exec(src);
    if (!found) return undefined;
    (this.lexer as BlockLexer).footnotes.add(found[1]!);
    return { type: "footnote", raw: found[0], label: found[1], tokens: this.lexer.inline(found[2]!) };
  },
  renderer(token) {
    return `<p class="footnote"><sup>${escapeHtml(token.label as string)}</sup> ${this.parser.parseInline(token.tokens ?? [])}</p>\n`;
  },
};

/** A reference to a footnote. A label that is no number needs a footnote of its name: `[^a-z]` may be a pattern. */
const FOOTNOTE_REFERENCE: TokenizerAndRendererExtension = {
  name: "footnoteReference",
  level: "inline",
  start: (src) => src.indexOf("[^"),
  tokenizer(src) {
    const found = /^\[\^([^\]\s]{1,40})\](?!\()/.exec(src);
    if (!found || !(/^\d{1,3}$/.test(found[1]!) || (this.lexer as BlockLexer).footnotes.has(found[1]!))) return undefined;
    return { type: "footnoteReference", raw: found[0], label: found[1] };
  },
  renderer: (token) => `<sup class="footnote-reference">${escapeHtml(token.label as string)}</sup>`,
};

function linkHtml(href: string, inner: string): string {
  if (!SAFE_LINK.test(href)) return inner;
  return `<a href="${escapeHtml(href)}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
}

const marked = new Marked({
  gfm: true,
  extensions: [FOOTNOTE, BLOCK_FORMULA, INLINE_FORMULA, FOOTNOTE_REFERENCE],
  hooks: { emStrongMask: maskFormulas },
  tokenizer: {
    /** Keep the backslash before a bracket: it may be the beginning of a formula that has not arrived completely. */
    escape(src) {
      const raw = /^\\[()[\]]/.exec(src)?.[0];
      return raw ? { type: "escape", raw, text: raw } : false;
    },
    /** A line that begins with a safe tag is a paragraph. As a block of HTML, all of it would be escaped. */
    html: (src) => (STARTS_WITH_SAFE_TAG.test(src) ? undefined : false),
  },
  renderer: {
    html: ({ text }) => (SAFE_TAG.test(text) ? text : escapeHtml(text)),
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

/** A lexer that parses the text inside the blocks only when it is asked for, block by block. */
class BlockLexer extends Lexer {
  /** The labels of the footnotes. */
  readonly footnotes = new Set<string>();
  /** The texts inside the block at each index of `tokens`. */
  private readonly inlineTexts = new Map<number, Set<Token[]>>();

  override inline(src: string, tokens: Token[] = []): Token[] {
    const index = this.tokens.length;
    const texts = this.inlineTexts.get(index);
    if (texts) texts.add(tokens);
    else this.inlineTexts.set(index, new Set([tokens]));
    return super.inline(src, tokens);
  }

  /** Parse the blocks of a text, not what is inside them. */
  blocks(text: string): MarkdownBlock[] {
    this.blockTokens(text, this.tokens);
    const sources = new Map(this.inlineQueue.map((each) => [each.tokens, each.src]));
    this.inlineQueue = [];
    return this.tokens.map((token, index) => {
      const texts = [...(this.inlineTexts.get(index) ?? [])].flatMap((tokens) => {
        const src = sources.get(tokens);
        return src === undefined ? [] : [{ src, tokens }];
      });
      return new MarkdownBlock(token, () => {
        for (const { src, tokens } of texts) {
          this.state.inRawBlock = false;
          this.inlineTokens(src, tokens);
        }
      });
    });
  }
}

/** A top-level block of a text. Its HTML is made when it is needed first. */
export class MarkdownBlock {
  readonly token: Token;
  private parseInside: (() => void) | null;
  private cachedHtml: string | null = null;

  constructor(token: Token, parseInside: () => void) {
    this.token = token;
    this.parseInside = parseInside;
  }

  /** The HTML, or the escaped source if the text inside the block is nested too deeply. Empty if the block shows nothing. */
  get html(): string {
    if (this.cachedHtml !== null) return this.cachedHtml;
    try {
      this.parseInside?.();
      if (exceedsDepth([this.token], MAX_DEPTH)) throw new NestingTooDeepError();
      this.cachedHtml = marked.parser([this.token]);
    } catch {
      this.cachedHtml = `<p class="plain">${escapeHtml(this.token.raw.trimEnd())}</p>\n`;
    }
    this.parseInside = null;
    return this.cachedHtml;
  }

  /** Make the HTML again when it is needed: the languages for highlighting were loaded. */
  forgetHtml(): void {
    this.cachedHtml = null;
  }
}

/**
 * Parse a text into blocks. `links` are the link definitions above it.
 *
 * @throws NestingTooDeepError
 */
export function parseBlocks(text: string, links: LinkDefinitions): MarkdownBlock[] {
  if (DEEP_MARKERS.test(text)) throw new NestingTooDeepError();
  const lexer = new BlockLexer(marked.defaults);
  Object.assign(lexer.tokens.links, links);
  const blocks = lexer.blocks(text);
  if (exceedsDepth(lexer.tokens, MAX_DEPTH)) throw new NestingTooDeepError();
  return blocks;
}

/** Whether tokens are nested deeper than `limit`. */
function exceedsDepth(tokens: Token[], limit: number): boolean {
  if (limit === 0) return true;
  return tokens.some((token) => {
    const inner = [...("tokens" in token && token.tokens ? token.tokens : []), ...("items" in token ? (token.items as Token[]) : [])];
    return inner.length > 0 && exceedsDepth(inner, limit - 1);
  });
}
