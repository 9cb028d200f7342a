import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Client } from "../live/client";
import type { Place } from "../state/tree";
import { Attached } from "./Attached";
import { useGrowing, useLong } from "./hooks";
import { Icon } from "./icons";
import { Reply } from "./Reply";
import { figures } from "./words";

export function Branches({ client, place }: { client: Client; place: Place }) {
  const { message, siblings } = place;
  if (siblings.length < 2) return null;
  const at = siblings.findIndex((each) => each.id === message.id);
  const go = (step: number) => {
    const other = siblings[at + step];
    if (other) client.show(other.id);
  };
  return (
    <span class="branches">
      <button type="button" class="tool" aria-label="Earlier version" disabled={at === 0} onClick={() => go(-1)}>
        <Icon name="left" />
      </button>
      <span class="count">
        {at + 1} of {siblings.length}
      </span>
      <button type="button" class="tool" aria-label="Later version" disabled={at === siblings.length - 1} onClick={() => go(1)}>
        <Icon name="right" />
      </button>
    </span>
  );
}

export function CopyButton({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button type="button" class="tool" aria-label={done ? "Copied" : "Copy"} title="Copy" onClick={() => void copy(text).then(setDone)}>
      <Icon name={done ? "check" : "copy"} />
    </button>
  );
}

/** Whether it worked. A page that is not secure has no clipboard of its own. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr-only";
    document.body.appendChild(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A message of more lines is shown folded: it is known to whoever sent it. */
const LONG_LINES = 20;
const EDITOR_LINES = 8;

/** What a person said, and the line below it: `foot`, behind the button that unfolds a long one. */
export function Said({ text, children, foot }: { text: string; children?: ComponentChildren; foot?: ComponentChildren }) {
  const said = useRef<HTMLDivElement>(null);
  const long = useLong(said, text, LONG_LINES);
  const [whole, setWhole] = useState(false);
  return (
    <>
      <div class={long && !whole ? "said folded" : "said"}>
        {children}
        <div ref={said} dir="auto">
          {text}
        </div>
      </div>
      <div class="foot">
        {long && (
          <button type="button" class="plain-button" aria-expanded={whole} onClick={() => setWhole(!whole)}>
            {whole ? "Fold" : "Show all of it"}
          </button>
        )}
        {foot}
      </div>
    </>
  );
}

interface UserProps {
  client: Client;
  place: Place;
  last: boolean;
  editing: boolean;
  onEdit: (message: string | null) => void;
}

export function UserMessage({ client, place, last, editing, onEdit }: UserProps) {
  const { message } = place;
  const text = message.text ?? "";
  if (editing) return <Editor text={text} onCancel={() => onEdit(null)} onSend={(next) => {
    onEdit(null);
    if (next !== text) client.edit(message.id, next);
  }} />;
  const { thread, user } = client.session;
  const author = message.author && message.author !== user ? (thread?.named(message.author) ?? message.author) : null;
  return (
    <article class={last ? "message user last" : "message user"}>
      <h2 class={author ? "author" : "sr-only"}>{author ?? "You"}</h2>
      <Said
        text={text}
        foot={
          <>
            <span class="tools">
              <button type="button" class="tool" aria-label="Edit" title="Edit" disabled={client.session.busy} onClick={() => onEdit(message.id)}>
                <Icon name="pencil" />
              </button>
              <CopyButton text={text} />
            </span>
            <Branches client={client} place={place} />
          </>
        }
      >
        <Attached message={message} />
      </Said>
    </article>
  );
}

function Editor({ text, onCancel, onSend }: { text: string; onCancel: () => void; onSend: (text: string) => void }) {
  const area = useRef<HTMLTextAreaElement>(null);
  const [draft, setDraft] = useState(text);
  useGrowing(area, draft, EDITOR_LINES);
  useLayoutEffect(() => {
    const field = area.current!;
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }, []);
  const send = () => {
    if (draft.trim()) onSend(draft.trim());
  };
  return (
    <div class="message user editing">
      <textarea
        ref={area}
        aria-label="Edit your message"
        dir="auto"
        rows={2}
        value={draft}
        onInput={(event) => setDraft(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            onCancel();
          } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            send();
          }
        }}
      />
      <div class="foot always">
        <button type="button" class="solid-button" onClick={send} disabled={!draft.trim()}>
          Send
        </button>
        <button type="button" class="plain-button" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </div>
  );
}

interface ReplyProps {
  client: Client;
  place: Place;
  last: boolean;
  speaker: string;
}

export function ReplyMessage({ client, place, last, speaker }: ReplyProps) {
  const { message } = place;
  const { session } = client;
  const reply = session.thread?.replies.get(message.id);
  const running = message.status === "streaming";
  return (
    <article class={last ? "message reply last" : "message reply"} aria-busy={running && !reply?.fold.end}>
      <h2 class="sr-only">{message.model ?? speaker}</h2>
      <Reply
        client={client}
        message={message}
        reply={(running && reply) || null}
        stopping={session.stopping}
        cut={session.phase !== "live"}
        again={last && !session.busy ? () => client.regenerate(message.id) : null}
      />
      <div class="foot">
        {running && session.phase !== "live" && (
          <span class="severed">The connection was cut here. {session.stopping ? "The reply is stopped" : "The reply goes on"} when it is back.</span>
        )}
        {!running && (
          <>
            <span class="figures">{figures(message).join(" · ")}</span>
            <span class="tools">
              <CopyButton text={message.text ?? ""} />
              <button type="button" class="tool" aria-label="Another reply" title="Another reply" disabled={session.busy} onClick={() => client.regenerate(message.id)}>
                <Icon name="retry" />
              </button>
            </span>
            <Branches client={client} place={place} />
          </>
        )}
      </div>
    </article>
  );
}
