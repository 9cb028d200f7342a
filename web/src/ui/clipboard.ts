/** Copy text. Returns whether it worked. A page over plain HTTP has no `navigator.clipboard`; it uses `execCommand`. */
export async function copyToClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const textarea = document.createElement("textarea");
    textarea.value = text;
    textarea.className = "sr-only";
    document.body.appendChild(textarea);
    textarea.select();
    const done = document.execCommand("copy");
    textarea.remove();
    return done;
  }
}
