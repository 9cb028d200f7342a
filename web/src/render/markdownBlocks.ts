// The top-level Markdown blocks of a growing text. Final blocks are parsed once; only the tail is parsed again.

import type { Tokens } from "marked";
import { closeMarkdown, openFormulaStart } from "./closeMarkdown";
import { type LinkDefinitions, type MarkdownBlock, parseBlocks } from "./markdown";

/** The number of blocks at the end that may still change: a list or a setext heading can change the block before it. */
const UNSTABLE_BLOCKS = 2;

/** Whether a block shows something. Blank lines and link definitions do not. */
const isShown = ({ token }: MarkdownBlock) => token.type !== "space" && token.type !== "def";

export class MarkdownBlocks {
  /** The blocks that are shown. The first `finalCount` stay the same objects while the text only grows. */
  shown: MarkdownBlock[] = [];
  finalCount = 0;
  private text = "";
  private consumed = 0;
  private links: LinkDefinitions = {};

  /** The HTML of each block. */
  get html(): string[] {
    return this.shown.map((block) => block.html);
  }

  /** Set the text so far. If it does not continue the last text, everything is parsed again. */
  update(text: string): void {
    const now = normalizeLineEndings(text);
    if (!now.startsWith(this.text)) this.clear();
    this.text = now;
    const tail = now.slice(this.consumed);
    const blocks = parseBlocks(tail, this.links).filter(({ token }) => token.raw !== "");
    const shownIndexes = blocks.flatMap((block, index) => (isShown(block) ? [index] : []));
    const cut = shownIndexes.length > UNSTABLE_BLOCKS ? shownIndexes.at(-UNSTABLE_BLOCKS)! : 0;
    const done = blocks.slice(0, cut);
    let raw = done.map(({ token }) => token.raw).join("");
    // A block in a formula that is not complete is no block.
    for (const limit = openFormulaStart(tail); raw.length > limit; ) raw = raw.slice(0, -done.pop()!.token.raw.length);
    this.shown.length = this.finalCount;
    // Cut the text only if the raw texts of the tokens are exactly the text.
    if (tail.startsWith(raw)) {
      this.shown.push(...done.filter(isShown));
      for (const { token } of done) if (token.type === "def") this.addLinkDefinition(token as Tokens.Def);
      this.finalCount = this.shown.length;
      this.consumed += raw.length;
    }
    this.shown.push(...parseBlocks(closeMarkdown(now.slice(this.consumed)), this.links).filter(isShown));
  }

  /** Set the complete text, and parse all of it once more. */
  finish(text: string): void {
    this.clear();
    this.text = normalizeLineEndings(text);
    this.shown = parseBlocks(this.text, {}).filter(isShown);
    this.finalCount = this.shown.length;
  }

  /** If a name is defined twice, the first definition counts. */
  private addLinkDefinition({ tag, href, title }: Tokens.Def): void {
    this.links[tag] ??= { href, title: title ?? null };
  }

  private clear(): void {
    this.shown = [];
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
