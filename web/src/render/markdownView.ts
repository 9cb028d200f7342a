// A message's text on the page: Markdown blocks, sanitized and patched into the DOM.

import DOMPurify, { type Config } from "dompurify";
import { renderFormulas, showsSameFormula } from "./formulaView";
import { areLanguagesLoaded, languagesLoaded } from "./highlight";
import type { MarkdownBlock } from "./markdown";
import { MarkdownBlocks } from "./markdownBlocks";
import { morph } from "./morph";
import { cancelSlices, runInSlices } from "./slices";

const PURIFY_CONFIG: Config = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "button", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "kbd", "li", "ol", "p",
    "pre", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["class", "dir", "href", "rel", "start", "tabindex", "target", "type"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  // Only `href` is checked against ALLOWED_URI_REGEXP.
  ADD_URI_SAFE_ATTR: ["dir", "rel", "start", "tabindex", "target", "type"],
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** The pause after a render, as a multiple of its duration. */
const PAUSE_FACTOR = 4;
const MAX_PAUSE_MS = 250;

export class MarkdownView {
  private readonly root: HTMLElement;
  private blocks = new MarkdownBlocks();
  /** What each element of the root shows. The block is null if its HTML has to be made again. */
  private rendered: { block: MarkdownBlock | null; html: string }[] = [];
  /** The index of the first block that may not be shown yet. */
  private nextIndex = 0;
  private nextText: string | null = null;
  private frame = 0;
  private timer = 0;
  private nextRenderAt = 0;

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

  /** Render the text so far. A long text takes several slices of time. */
  renderNow(text: string): void {
    if (this.setText(text, false)) runInSlices(this.patchNext);
  }

  /** Render the complete text. A long text takes several slices of time. */
  finish(text: string): void {
    this.cancel();
    if (this.setText(text, true)) runInSlices(this.patchNext);
  }

  /** Cancel a pending render. */
  cancel(): void {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    cancelSlices(this.patchNext);
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
      this.renderNow(text);
      const cost = performance.now() - start;
      this.nextRenderAt = performance.now() + Math.max(cost, Math.min(cost * PAUSE_FACTOR, MAX_PAUSE_MS));
    });
  };

  private rehighlight(): void {
    if (!this.root.querySelector(".code") && this.nextIndex >= this.blocks.shown.length) return;
    for (const block of this.blocks.shown) block.forgetHtml();
    for (const each of this.rendered) each.block = null;
    this.nextIndex = 0;
    this.root.setAttribute("aria-busy", "true");
    runInSlices(this.patchNext);
  }

  /** Returns whether there are blocks to patch. A text that is nested too deeply for the parser is shown as it is. */
  private setText(text: string, complete: boolean): boolean {
    try {
      if (complete) this.blocks.finish(text);
      else this.blocks.update(text);
    } catch {
      this.blocks = new MarkdownBlocks();
      cancelSlices(this.patchNext);
      this.renderPlainText(text);
      return false;
    }
    if (this.root.firstElementChild?.classList.contains("plain")) this.root.replaceChildren();
    this.nextIndex = 0;
    this.root.setAttribute("aria-busy", "true");
    return true;
  }

  /** Patch the next block that has changed. Returns whether all blocks are shown. */
  private patchNext = (): boolean => {
    const { shown } = this.blocks;
    while (this.nextIndex < shown.length && this.rendered[this.nextIndex]?.block === shown[this.nextIndex]) this.nextIndex += 1;
    if (this.nextIndex < shown.length) {
      this.patchBlock(this.nextIndex, shown[this.nextIndex]!);
      this.nextIndex += 1;
      if (this.nextIndex < shown.length) return false;
    }
    while (this.root.children.length > shown.length) this.root.lastElementChild!.remove();
    this.rendered.length = shown.length;
    this.root.removeAttribute("aria-busy");
    return true;
  };

  private patchBlock(index: number, block: MarkdownBlock): void {
    const { html } = block;
    const before = this.rendered[index]?.html;
    this.rendered[index] = { block, html };
    if (before === html) return;
    const fragment = DOMPurify.sanitize(html, PURIFY_CONFIG) as unknown as DocumentFragment;
    let element = this.root.children[index];
    if (!element) {
      element = document.createElement("div");
      element.className = "block";
      element.setAttribute("dir", "auto");
      this.root.appendChild(element);
    }
    morph(element, fragment, showsSameFormula);
    renderFormulas(element);
  }

  private renderPlainText(text: string): void {
    let block = this.root.firstElementChild;
    if (!block?.classList.contains("plain")) {
      this.root.replaceChildren();
      block = document.createElement("div");
      block.className = "block plain";
      block.setAttribute("dir", "auto");
      this.root.appendChild(block);
      this.rendered = [];
    }
    block.textContent = text;
    this.root.removeAttribute("aria-busy");
  }
}
