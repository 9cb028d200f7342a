import { useEffect, useRef, useState } from "preact/hooks";
import { PREFIX } from "../client/address";
import type { PersonView } from "../protocol";
import { copyToClipboard } from "./clipboard";
import { useClient } from "./hooks";
import { Icon } from "./icons";

const ROLE_LABELS = { owner: "owner", member: "can write", viewer: "can read" } as const;

/** The other users who are present, as text for the top bar. Empty if there are none. */
export function presenceSummary(participants: PersonView[], user: string | null): string {
  const others = participants.filter((each) => each.present && each.user !== user).map((each) => each.name || each.user);
  if (others.length === 0) return "";
  if (others.length <= 2) return `${others.join(" and ")} ${others.length === 1 ? "is" : "are"} here`;
  return `${others.length} others are here`;
}

export function ParticipantsButton() {
  const client = useClient();
  const { conversation, user } = client.session;
  const [open, setOpen] = useState(false);
  if (!conversation || conversation.notFound || conversation.deleted) return null;
  const summary = presenceSummary(conversation.participants, user);
  return (
    <>
      <button type="button" class="participants-button" aria-haspopup="dialog" onClick={() => setOpen(true)} title="People in this conversation">
        <Icon name="people" />
        <span class={summary ? "presence-text" : "sr-only"}>{summary || "People"}</span>
      </button>
      {open && <ParticipantsDialog onClose={() => setOpen(false)} />}
    </>
  );
}

function ParticipantsDialog({ onClose }: { onClose: () => void }) {
  const client = useClient();
  const { conversation, user } = client.session;
  const role = conversation?.view?.standing ?? "owner";
  const dialog = useRef<HTMLDialogElement>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const isOwner = role === "owner";
  const onlyUser: PersonView[] = user ? [{ user, standing: role, present: true }] : [];
  const participants = conversation?.participants.length ? conversation.participants : onlyUser;
  const remove = (target: string) => {
    client.removeParticipant(target).catch((error: unknown) => setError(error instanceof Error ? error.message : "That did not work."));
  };
  return (
    <dialog ref={dialog} class="dialog participants" aria-labelledby="participants-title" onClose={onClose} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <h2 id="participants-title">People</h2>
      <ul>
        {participants.map((each) => (
          <li key={each.user}>
            <span class={each.present ? "presence-dot" : "presence-dot absent"} aria-hidden="true" />
            <span class="name">
              {each.name || each.user}
              {each.user === user && " (you)"}
            </span>
            <span class="muted">
              {ROLE_LABELS[each.standing]}, {each.typing ? "is writing" : each.present ? "here" : "away"}
            </span>
            {each.standing !== "owner" && (isOwner || each.user === user) && (
              <button type="button" class="link-button" onClick={() => remove(each.user)}>
                {each.user === user ? "Leave" : "Remove"}
              </button>
            )}
          </li>
        ))}
      </ul>
      {isOwner && <InviteLinks onError={setError} />}
      {error && <p class="error">{error}</p>}
      <button type="button" class="secondary-button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}

function InviteLinks({ onError }: { onError: (error: string | null) => void }) {
  const client = useClient();
  const [link, setLink] = useState<string | null>(null);
  const [copied, setCopied] = useState(false);
  const create = (role: "member" | "viewer") => {
    client.invite(role).then(
      async (invitation) => {
        const url = `${location.origin}${PREFIX}/#/join/${invitation.secret}`;
        onError(null);
        setLink(url);
        setCopied(await copyToClipboard(url));
      },
      (error: unknown) => onError(error instanceof Error ? error.message : "That did not work."),
    );
  };
  return (
    <div class="invite">
      <p>
        <button type="button" class="secondary-button" onClick={() => create("member")}>
          Invite people to write
        </button>{" "}
        <button type="button" class="secondary-button" onClick={() => create("viewer")}>
          Invite people to read
        </button>
      </p>
      {link && (
        <label>
          <span class="muted">{copied ? "Copied. Anyone who opens this link joins the conversation." : "Anyone who opens this link joins the conversation."}</span>
          <input readOnly value={link} aria-label="Invitation" onFocus={(event) => event.currentTarget.select()} />
        </label>
      )}
    </div>
  );
}
