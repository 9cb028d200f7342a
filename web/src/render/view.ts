// A message's text on the page: blocks, purified and patched into place, no more often than the machine can bear.

import DOMPurify, { type Config } from "dompurify";
import { Blocks } from "./blocks";
import { coloured, isColoured } from "./highlight";
import { morph } from "./morph";

const PURIFY: Config = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "button", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["class", "dir", "href", "rel", "start", "tabindex", "target", "type"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  // Only of addresses is it asked whether they are safe ones.
  ADD_URI_SAFE_ATTR: ["dir", "rel", "start", "tabindex", "target", "type"],
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** A render that takes longer than this makes the rest of the message plain text. */
const TOO_COSTLY_MS = 400;
const REST = 4;
const LONGEST_REST_MS = 250;

export class TextView {
  private readonly root: HTMLElement;
  private blocks = new Blocks();
  private shown: string[] = [];
  private plain = false;
  private wanted: string | null = null;
  private frame = 0;
  private timer = 0;
  private nextAt = 0;

  private last = "";
  private done = false;

  constructor(root: HTMLElement) {
    this.root = root;
    if (!isColoured()) void coloured.then(() => this.recolour());
  }

  /** The text grew: show it with one of the next frames. */
  grow(text: string): void {
    this.wanted = text;
    if (this.frame || this.timer) return;
    const wait = this.nextAt - performance.now();
    // Frames do not come to a page nobody looks at; it is brought up to date when somebody does.
    if (wait > 16) this.timer = window.setTimeout(this.request, wait);
    else this.request();
  }

  /** The text so far, at once. */
  first(text: string): void {
    this.render(() => this.blocks.grow(text), text);
  }

  /** The text is whole. */
  finish(text: string): void {
    this.cancel();
    this.done = true;
    this.render(() => this.blocks.finish(text), text);
  }

  cancel(): void {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.frame = this.timer = 0;
    this.wanted = null;
  }

  private request = (): void => {
    this.timer = 0;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      const text = this.wanted;
      this.wanted = null;
      if (text === null) return;
      const start = performance.now();
      this.render(() => this.blocks.grow(text), text);
      const cost = performance.now() - start;
      this.nextAt = performance.now() + Math.min(cost * REST, LONGEST_REST_MS);
    });
  };

  private recolour(): void {
    if (!this.root.querySelector(".code")) return;
    const text = this.last;
    this.blocks = new Blocks();
    this.render(() => (this.done ? this.blocks.finish(text) : this.blocks.grow(text)), text);
  }

  private render(step: () => void, text: string): void {
    this.last = text;
    if (!this.plain) {
      const start = performance.now();
      try {
        step();
        this.patch();
      } catch {
        // A text that no parser bears is still a text.
        this.plain = true;
      }
      if (performance.now() - start > TOO_COSTLY_MS) this.plain = true;
      if (!this.plain) return;
    }
    this.spell(text);
  }

  private patch(): void {
    const wanted = this.blocks.html;
    for (let at = 0; at < wanted.length; at++) {
      const html = wanted[at]!;
      if (this.shown[at] === html) continue;
      const fragment = DOMPurify.sanitize(html, PURIFY) as unknown as DocumentFragment;
      let block = this.root.children[at];
      if (!block) {
        block = document.createElement("div");
        block.className = "block";
        block.setAttribute("dir", "auto");
        this.root.appendChild(block);
      }
      morph(block, fragment);
      this.shown[at] = html;
    }
    while (this.root.children.length > wanted.length) this.root.lastElementChild!.remove();
    this.shown.length = wanted.length;
  }

  private spell(text: string): void {
    let block = this.root.firstElementChild;
    if (!block?.classList.contains("plain")) {
      this.root.replaceChildren();
      block = document.createElement("div");
      block.className = "block plain";
      block.setAttribute("dir", "auto");
      this.root.appendChild(block);
      this.shown = [];
    }
    block.textContent = text;
  }
}
