import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { useExceedsLines } from "./hooks";

/** A longer text is collapsed. */
const MAX_COLLAPSED_LINES = 20;

/** The text of a user's message, collapsed if it is long. `children` are shown above it, `footer` below it. */
export function CollapsibleText({ text, children, footer }: { text: string; children?: ComponentChildren; footer?: ComponentChildren }) {
  const content = useRef<HTMLDivElement>(null);
  const long = useExceedsLines(content, text, MAX_COLLAPSED_LINES);
  const [expanded, setExpanded] = useState(false);
  return (
    <>
      <div class={long && !expanded ? "user-text collapsed" : "user-text"}>
        {children}
        <div ref={content} dir="auto">
          {text}
        </div>
      </div>
      <div class="message-footer">
        {long && (
          <button type="button" class="secondary-button" aria-expanded={expanded} onClick={() => setExpanded(!expanded)}>
            {expanded ? "Show less" : "Show all"}
          </button>
        )}
        {footer}
      </div>
    </>
  );
}
