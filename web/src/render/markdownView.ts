// A message's text on the page: Markdown blocks, sanitized and patched into the DOM.

import DOMPurify, { type Config } from "dompurify";
import { areLanguagesLoaded, languagesLoaded } from "./highlight";
import { MarkdownBlocks } from "./markdownBlocks";
import { morph } from "./morph";

const PURIFY_CONFIG: Config = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "button", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["class", "dir", "href", "rel", "start", "tabindex", "target", "type"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  // Only `href` is checked against ALLOWED_URI_REGEXP.
  ADD_URI_SAFE_ATTR: ["dir", "rel", "start", "tabindex", "target", "type"],
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** If a render takes longer, the message is shown as plain text from then on. */
const MAX_RENDER_MS = 400;
/** The pause after a render, as a multiple of its duration. */
const PAUSE_FACTOR = 4;
const MAX_PAUSE_MS = 250;

export class MarkdownView {
  private readonly root: HTMLElement;
  private blocks = new MarkdownBlocks();
  private renderedHtml: string[] = [];
  private plain = false;
  private nextText: string | null = null;
  private frame = 0;
  private timer = 0;
  private nextRenderAt = 0;

  private lastText = "";
  private done = false;

  constructor(root: HTMLElement) {
    this.root = root;
    if (!areLanguagesLoaded()) void languagesLoaded.then(() => this.rehighlight());
  }

  /** Render the text so far in one of the next animation frames. */
  update(text: string): void {
    this.nextText = text;
    if (this.frame || this.timer) return;
    const wait = this.nextRenderAt - performance.now();
    // A hidden page gets no animation frames. It is rendered when it becomes visible.
    if (wait > 16) this.timer = window.setTimeout(this.requestRender, wait);
    else this.requestRender();
  }

  /** Render the text so far at once. */
  renderNow(text: string): void {
    this.render(() => this.blocks.update(text), text);
  }

  /** Render the complete text at once. */
  finish(text: string): void {
    this.cancel();
    this.done = true;
    this.render(() => this.blocks.finish(text), text);
  }

  /** Cancel a pending render. */
  cancel(): void {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.frame = this.timer = 0;
    this.nextText = null;
  }

  private requestRender = (): void => {
    this.timer = 0;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      const text = this.nextText;
      this.nextText = null;
      if (text === null) return;
      const start = performance.now();
      this.render(() => this.blocks.update(text), text);
      const cost = performance.now() - start;
      this.nextRenderAt = performance.now() + Math.min(cost * PAUSE_FACTOR, MAX_PAUSE_MS);
    });
  };

  private rehighlight(): void {
    if (!this.root.querySelector(".code")) return;
    const text = this.lastText;
    this.blocks = new MarkdownBlocks();
    this.render(() => (this.done ? this.blocks.finish(text) : this.blocks.update(text)), text);
  }

  private render(updateBlocks: () => void, text: string): void {
    this.lastText = text;
    if (!this.plain) {
      const start = performance.now();
      try {
        updateBlocks();
        this.patch();
      } catch {
        // The parser failed: show the text as it is.
        this.plain = true;
      }
      if (performance.now() - start > MAX_RENDER_MS) this.plain = true;
      if (!this.plain) return;
    }
    this.renderPlainText(text);
  }

  private patch(): void {
    const blocks = this.blocks.html;
    for (let index = 0; index < blocks.length; index++) {
      const html = blocks[index]!;
      if (this.renderedHtml[index] === html) continue;
      const fragment = DOMPurify.sanitize(html, PURIFY_CONFIG) as unknown as DocumentFragment;
      let block = this.root.children[index];
      if (!block) {
        block = document.createElement("div");
        block.className = "block";
        block.setAttribute("dir", "auto");
        this.root.appendChild(block);
      }
      morph(block, fragment);
      this.renderedHtml[index] = html;
    }
    while (this.root.children.length > blocks.length) this.root.lastElementChild!.remove();
    this.renderedHtml.length = blocks.length;
  }

  private renderPlainText(text: string): void {
    let block = this.root.firstElementChild;
    if (!block?.classList.contains("plain")) {
      this.root.replaceChildren();
      block = document.createElement("div");
      block.className = "block plain";
      block.setAttribute("dir", "auto");
      this.root.appendChild(block);
      this.renderedHtml = [];
    }
    block.textContent = text;
  }
}
