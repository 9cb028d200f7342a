// The top-level Markdown blocks of a growing text, as HTML. Final blocks are parsed once; only the tail is parsed again.

import type { Tokens } from "marked";
import { closeMarkdown } from "./closeMarkdown";
import { type LinkDefinitions, renderToken, tokenize } from "./markdown";

/** The number of blocks at the end that may still change: a list or a setext heading can change the block before it. */
const UNSTABLE_BLOCKS = 2;

export class MarkdownBlocks {
  /** One HTML string per block. The first `finalCount` do not change while the text only grows. */
  html: string[] = [];
  finalCount = 0;
  private text = "";
  private consumed = 0;
  private links: LinkDefinitions = {};

  /** Set the text so far. If it does not continue the last text, everything is parsed again. */
  update(text: string): void {
    const now = normalizeLineEndings(text);
    if (!now.startsWith(this.text)) this.clear();
    this.text = now;
    const tail = now.slice(this.consumed);
    const tokens = tokenize(tail, this.links).filter((token) => token.raw !== "");
    const contentIndexes = tokens.flatMap((token, index) => (token.type === "space" || token.type === "def" ? [] : [index]));
    const cut = contentIndexes.length > UNSTABLE_BLOCKS ? contentIndexes.at(-UNSTABLE_BLOCKS)! : 0;
    const done = tokens.slice(0, cut);
    const length = done.reduce((sum, token) => sum + token.raw.length, 0);
    // Cut the text only if the raw texts of the tokens are exactly the text.
    const matches = tail.startsWith(done.map((token) => token.raw).join(""));
    this.html.length = this.finalCount;
    if (matches) {
      this.html.push(...done.map(renderToken).filter(Boolean));
      for (const token of done) if (token.type === "def") this.addLinkDefinition(token as Tokens.Def);
      this.finalCount = this.html.length;
      this.consumed += length;
    }
    const rest = tokenize(closeMarkdown(now.slice(this.consumed)), this.links);
    this.html.push(...rest.map(renderToken).filter(Boolean));
  }

  /** Set the complete text, and parse all of it once more. */
  finish(text: string): void {
    this.clear();
    this.text = normalizeLineEndings(text);
    this.html = tokenize(this.text, {}).map(renderToken).filter(Boolean);
    this.finalCount = this.html.length;
  }

  /** If a name is defined twice, the first definition counts. */
  private addLinkDefinition({ tag, href, title }: Tokens.Def): void {
    this.links[tag] ??= { href, title: title ?? null };
  }

  private clear(): void {
    this.html = [];
    this.finalCount = 0;
    this.text = "";
    this.consumed = 0;
    this.links = {};
  }
}

/**
 * Normalize as the lexer does, so that offsets are the same. A carriage return at the end is removed: it may be the first
 * half of a line ending.
 */
function normalizeLineEndings(text: string): string {
  return text.replace(/\r\n|\r(?!$)/g, "\n").replace(/\r$/, "");
}
