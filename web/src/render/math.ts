// TeX to DOM. The page loads this file, KaTeX and its fonts when a message has a formula.

import katex from "katex";
import "katex/dist/katex.min.css";

/**
 * Show TeX code in an element. `trust: false` refuses the commands that load or link something.
 *
 * @throws ParseError
 */
export function renderTex(tex: string, element: HTMLElement, displayMode: boolean): void {
  katex.render(tex, element, { displayMode, throwOnError: true, strict: "ignore", trust: false, maxSize: 20, maxExpand: 200 });
}
