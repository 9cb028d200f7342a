// Code as HTML, with colours once they are there.

/** Longer code than this is shown without colours: they would cost more than they tell. */
const LONGEST = 40_000;

let colour: ((code: string, language: string) => string | null) | null = null;

/** Resolves when `highlight` gives colours; what it gave before then is plain. */
export const coloured: Promise<void> = import("./colours").then(
  (module) => {
    colour = module.colour;
  },
  () => undefined, // Code without colours is still code.
);

export function isColoured(): boolean {
  return colour !== null;
}

export function escape(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;").replace(/'/g, "&#39;");
}

/** `code` as HTML, every character of it escaped. */
export function highlight(code: string, language: string): string {
  if (!colour || code.length > LONGEST) return escape(code);
  return colour(code, language) ?? escape(code);
}
