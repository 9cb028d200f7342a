/** The reasoning of a reply, collapsed. */
export function Reasoning({ text, live }: { text: string; live: boolean }) {
  return (
    <details class="reasoning">
      <summary>
        {live ? "Thinking" : "Reasoning"}
        {live && <span class="pulse" />}
      </summary>
      <div class="reasoning-text" dir="auto">{text.trim()}</div>
    </details>
  );
}
