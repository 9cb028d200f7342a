import { useEffect, useRef, useState } from "preact/hooks";
import { useClient } from "./hooks";

/** Asks whether to join the conversation of an invitation link. */
export function JoinDialog() {
  const client = useClient();
  const preview = client.invitationPreview;
  const dialog = useRef<HTMLDialogElement>(null);
  const [joining, setJoining] = useState(false);
  useEffect(() => {
    if (preview) dialog.current?.showModal();
    setJoining(false);
  }, [preview]);
  if (!preview) return null;
  const may = preview.standing === "viewer" ? "You can read it, and cannot write." : "You can read it and write in it.";
  return (
    <dialog
      ref={dialog}
      class="dialog join"
      aria-labelledby="join-title"
      onCancel={(event) => {
        event.preventDefault();
        client.declineInvitation();
      }}
    >
      <h2 id="join-title">Join this conversation?</h2>
      <p class="join-name" dir="auto">
        {preview.title || "New conversation"}
      </p>
      <p>
        It belongs to <bdi>{preview.owner}</bdi>. {may} Everyone in it sees your name.
      </p>
      <div class="join-buttons">
        <button type="button" class="secondary-button" onClick={() => client.declineInvitation()}>
          Not now
        </button>
        <button
          type="button"
          class="primary-button"
          disabled={joining}
          onClick={() => {
            setJoining(true);
            void client.acceptInvitation().finally(() => setJoining(false));
          }}
        >
          Join
        </button>
      </div>
    </dialog>
  );
}
