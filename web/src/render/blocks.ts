// The blocks of a message that grows. Finished blocks are rendered once; only the tail is read again.

import type { Tokens } from "marked";
import { type Links, html, lex } from "./markdown";
import { mend } from "./mend";

/** A list or a setext heading may still change the block before the last one. */
const HELD_BACK = 2;

export class Blocks {
  /** HTML, a block each. Those before `final` do not change any more while the text only grows. */
  html: string[] = [];
  final = 0;
  private text = "";
  private consumed = 0;
  private links: Links = {};

  /** The text as it is by now. One that does not go on from the last is rendered anew. */
  grow(text: string): void {
    const now = normal(text);
    if (!now.startsWith(this.text)) this.clear();
    this.text = now;
    const tail = now.slice(this.consumed);
    const tokens = lex(tail, this.links).filter((token) => token.raw !== "");
    const solid = tokens.flatMap((token, at) => (token.type === "space" || token.type === "def" ? [] : [at]));
    const cut = solid.length > HELD_BACK ? solid.at(-HELD_BACK)! : 0;
    const done = tokens.slice(0, cut);
    const length = done.reduce((sum, token) => sum + token.raw.length, 0);
    // The raw texts of the tokens are the text, or they cannot be counted on to cut it.
    const countable = tail.startsWith(done.map((token) => token.raw).join(""));
    this.html.length = this.final;
    if (countable) {
      this.html.push(...done.map(html).filter(Boolean));
      for (const token of done) if (token.type === "def") this.define(token as Tokens.Def);
      this.final = this.html.length;
      this.consumed += length;
    }
    const rest = lex(mend(now.slice(this.consumed)), this.links);
    this.html.push(...rest.map(html).filter(Boolean));
  }

  /** The text as it will stay, read whole once more. */
  finish(text: string): void {
    this.clear();
    this.text = normal(text);
    this.html = lex(this.text, {}).map(html).filter(Boolean);
    this.final = this.html.length;
  }

  /** The first definition of a name is the one that counts. */
  private define({ tag, href, title }: Tokens.Def): void {
    this.links[tag] ??= { href, title: title ?? null };
  }

  private clear(): void {
    this.html = [];
    this.final = 0;
    this.text = "";
    this.consumed = 0;
    this.links = {};
  }
}

/** As the lexer sees it, so that offsets are the same. A carriage return at the end may be half of a line's end. */
function normal(text: string): string {
  return text.replace(/\r\n|\r(?!$)/g, "\n").replace(/\r$/, "");
}
