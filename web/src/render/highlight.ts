// Code to HTML. The code is highlighted as soon as the highlighter is loaded.

/** Longer code is not highlighted, because that takes too long. */
const MAX_CHARS = 40_000;

let highlightLanguage: ((code: string, language: string) => string | null) | null = null;

/** Resolves when the languages are loaded. Before that, `highlight` only escapes. */
export const languagesLoaded: Promise<void> = import("./languages").then(
  (module) => {
    highlightLanguage = module.highlightLanguage;
  },
  () => undefined, // The page works without highlighting.
);

export function areLanguagesLoaded(): boolean {
  return highlightLanguage !== null;
}

export function escapeHtml(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;").replace(/'/g, "&#39;");
}

/** Convert code to HTML, escaped and highlighted. If the language is unknown or not loaded, the code is only escaped. */
export function highlight(code: string, language: string): string {
  if (!highlightLanguage || code.length > MAX_CHARS) return escapeHtml(code);
  return highlightLanguage(code, language) ?? escapeHtml(code);
}
