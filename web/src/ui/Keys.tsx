import { useEffect, useRef } from "preact/hooks";

const KEYS: [string, string][] = [
  ["Enter", "Send"],
  ["Shift Enter", "Begin a new line"],
  ["Esc", "Stop the reply"],
  ["↑", "Edit your last message, in an empty field"],
  ["↓", "Go from the field that finds into the list"],
  ["/", "Give a command, in an empty field"],
  ["Ctrl K", "Find a conversation"],
  ["?", "Show these keys"],
];

export function Keys({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} class="keys" aria-labelledby="keys-title" onClose={onClose} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <h2 id="keys-title">Keys</h2>
      <dl>
        {KEYS.map(([key, what]) => (
          <div>
            <dt>
              {key.split(" ").map((each) => (
                <kbd>{each}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <button type="button" class="plain-button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}
