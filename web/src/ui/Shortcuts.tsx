import { useEffect, useRef } from "preact/hooks";

const SHORTCUTS: [string, string][] = [
  ["Enter", "Send"],
  ["Shift Enter", "New line"],
  ["Esc", "Stop the reply"],
  ["↑", "Edit your last message, in an empty field"],
  ["↓", "Move from the search field into the list"],
  ["/", "Start a command, in an empty field"],
  ["Ctrl K", "Find a conversation"],
  ["?", "Show these shortcuts"],
];

export function Shortcuts({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="shortcuts-title" onClose={onClose} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <h2 id="shortcuts-title">Keyboard shortcuts</h2>
      <dl>
        {SHORTCUTS.map(([keys, action]) => (
          <div>
            <dt>
              {keys.split(" ").map((each) => (
                <kbd>{each}</kbd>
              ))}
            </dt>
            <dd>{action}</dd>
          </div>
        ))}
      </dl>
      <button type="button" class="secondary-button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}
