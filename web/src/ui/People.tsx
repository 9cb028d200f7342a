import { useEffect, useRef, useState } from "preact/hooks";
import type { PersonView } from "../protocol";
import { copy } from "./Message";
import { useClient } from "./hooks";
import { Icon } from "./icons";

const STANDINGS = { owner: "owns it", member: "writes", viewer: "reads" } as const;

/** Who is here beside the person, in words for the top line. */
export function here(people: PersonView[], user: string | null): string {
  const others = people.filter((each) => each.present && each.user !== user).map((each) => each.name || each.user);
  if (others.length === 0) return "";
  if (others.length <= 2) return `${others.join(" and ")} ${others.length === 1 ? "is" : "are"} here`;
  return `${others.length} others are here`;
}

export function People() {
  const client = useClient();
  const { thread, user } = client.session;
  const [open, setOpen] = useState(false);
  if (!thread || thread.missing || thread.deleted) return null;
  const words = here(thread.people, user);
  return (
    <>
      <button type="button" class="people-button" aria-haspopup="dialog" onClick={() => setOpen(true)} title="People in this conversation">
        <Icon name="people" />
        <span class={words ? "words" : "sr-only"}>{words || "People"}</span>
      </button>
      {open && <Circle onClose={() => setOpen(false)} />}
    </>
  );
}

function Circle({ onClose }: { onClose: () => void }) {
  const client = useClient();
  const { thread, user } = client.session;
  const dialog = useRef<HTMLDialogElement>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const owner = thread?.view?.standing !== "member" && thread?.view?.standing !== "viewer";
  const alone: PersonView[] = user ? [{ user, standing: thread?.view?.standing ?? "owner", present: true }] : [];
  const people = thread?.people.length ? thread.people : alone;
  const dismiss = (who: string) => {
    client.dismiss(who).catch((error: unknown) => setTrouble(error instanceof Error ? error.message : "That did not work."));
  };
  return (
    <dialog ref={dialog} class="keys people" aria-labelledby="people-title" onClose={onClose} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <h2 id="people-title">People</h2>
      <ul>
        {people.map((each) => (
          <li key={each.user}>
            <span class={each.present ? "dot" : "dot away"} aria-hidden="true" />
            <span class="name">
              {each.name || each.user}
              {each.user === user && " (you)"}
            </span>
            <span class="quiet">
              {STANDINGS[each.standing]}, {each.typing ? "is writing" : each.present ? "here" : "away"}
            </span>
            {each.standing !== "owner" && (owner || each.user === user) && (
              <button type="button" class="link-button" onClick={() => dismiss(each.user)}>
                {each.user === user ? "Leave" : "Remove"}
              </button>
            )}
          </li>
        ))}
      </ul>
      {owner && <Invite onTrouble={setTrouble} />}
      {trouble && <p class="trouble">{trouble}</p>}
      <button type="button" class="plain-button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}

function Invite({ onTrouble }: { onTrouble: (trouble: string | null) => void }) {
  const client = useClient();
  const [link, setLink] = useState<string | null>(null);
  const [copied, setCopied] = useState(false);
  const make = (standing: "member" | "viewer") => {
    client.invite(standing).then(
      async (made) => {
        const url = `${location.origin}/#/join/${made.secret}`;
        onTrouble(null);
        setLink(url);
        setCopied(await copy(url));
      },
      (error: unknown) => onTrouble(error instanceof Error ? error.message : "That did not work."),
    );
  };
  return (
    <div class="invite">
      <p>
        <button type="button" class="plain-button" onClick={() => make("member")}>
          Link for writing along
        </button>{" "}
        <button type="button" class="plain-button" onClick={() => make("viewer")}>
          Link for reading along
        </button>
      </p>
      {link && (
        <label>
          <span class="quiet">{copied ? "Copied. Whoever opens it takes part." : "Whoever opens this link takes part."}</span>
          <input readOnly value={link} aria-label="Invitation" onFocus={(event) => event.currentTarget.select()} />
        </label>
      )}
    </div>
  );
}
