import { useEffect, useRef, useState } from "preact/hooks";
import type { FilePart } from "../protocol";
import { CopyButton } from "./CopyButton";
import { formatSize } from "./format";
import { useClient } from "./hooks";

/** The text of a file that was sent, as plain text. */
export function FileDialog({ file, onClose }: { file: FilePart; onClose: () => void }) {
  const client = useClient();
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    dialog.current?.showModal();
    let mounted = true;
    client.attachmentText(file.attachment).then(
      (loaded) => mounted && setText(loaded),
      (error: unknown) => mounted && setError(error instanceof Error ? error.message : "This file cannot be shown."),
    );
    return () => {
      mounted = false;
    };
  }, []);
  return (
    <dialog ref={dialog} class="dialog file-dialog" aria-labelledby="file-title" onClose={onClose} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <h2 id="file-title" dir="auto">{file.name || "File"}</h2>
      <p class="muted">{formatSize(file.size ?? 0)}</p>
      {error && <p class="error">{error}</p>}
      {text !== null && (
        <pre tabindex={0} dir="auto">
          {text}
        </pre>
      )}
      <button type="button" class="secondary-button" onClick={() => dialog.current?.close()}>
        Close
      </button>
      {text !== null && <CopyButton text={text} />}
    </dialog>
  );
}
