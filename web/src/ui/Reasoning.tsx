export function Reasoning({ text, live }: { text: string; live: boolean }) {
  return (
    <details class="reasoning">
      <summary>
        {live ? "Thinking" : "What it thought"}
        {live && <span class="breath" />}
      </summary>
      <div class="reasoning-text" dir="auto">{text.trim()}</div>
    </details>
  );
}
