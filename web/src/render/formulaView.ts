// The formulas of a message in the DOM. Until KaTeX is loaded, and if it does not understand one, the source is shown.

import { texOf } from "./formulas";

type RenderTex = typeof import("./math").renderTex;

let renderTex: RenderTex | null = null;
let loading: Promise<void> | null = null;
/** The source of each formula that KaTeX was given. */
const renderedSources = new WeakMap<Element, string>();

/** Load KaTeX. Resolves also if it cannot be loaded: the page works without it. */
function load(): Promise<void> {
  loading ??= import("./math").then(
    (module) => {
      renderTex = module.renderTex;
    },
    () => undefined,
  );
  return loading;
}

/** Whether `current` shows the formula of `target`. Then it stays as it is. Otherwise it counts as not rendered. */
export function showsSameFormula(current: Element, target: Element): boolean {
  const source = renderedSources.get(current);
  if (source === undefined) return false;
  if (target.className === current.className && target.textContent === source) return true;
  renderedSources.delete(current);
  return false;
}

/** Show the formulas in an element that are not shown yet, now or when KaTeX is loaded. */
export function renderFormulas(root: Element): void {
  const pending = [...root.querySelectorAll<HTMLElement>(".math")].filter((each) => !renderedSources.has(each));
  if (pending.length === 0) return;
  if (renderTex) for (const each of pending) renderFormula(each);
  else void load().then(() => renderTex && renderFormulas(root));
}

function renderFormula(element: HTMLElement): void {
  const source = element.textContent ?? "";
  renderedSources.set(element, source);
  try {
    renderTex!(texOf(source), element, element.classList.contains("display"));
  } catch {
    element.textContent = source;
    return;
  }
  // A formula that is too wide scrolls by itself. The keyboard has to reach it.
  const box = element.classList.contains("display") ? element : element.closest(".block");
  if (box && box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
}
