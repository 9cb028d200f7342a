import { useEffect, useState } from "preact/hooks";
import { copyToClipboard } from "./clipboard";
import { Icon } from "./icons";

export function CopyButton({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button type="button" class="icon-button" aria-label={copied ? "Copied" : "Copy"} title="Copy" onClick={() => void copyToClipboard(text).then(setCopied)}>
      <Icon name={copied ? "check" : "copy"} />
    </button>
  );
}
