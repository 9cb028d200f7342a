import type { Ref } from "preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { read, write } from "../live/keep";
import { useClient } from "./hooks";
import { Icon, StopIcon } from "./icons";

interface Props {
  area: Ref<HTMLTextAreaElement> & { current: HTMLTextAreaElement | null };
  away: boolean;
  onEnd: () => void;
  onEditLast: () => void;
}

const LINES = 8;

export function Composer({ area, away, onEnd, onEditLast }: Props) {
  const client = useClient();
  const { session } = client;
  const key = `draft.${session.thread?.id ?? "new"}`;
  const [draft, setDraft] = useState(() => read("session", key) ?? "");
  const [hint, setHint] = useState<string | null>(null);
  const busy = session.busy;

  useEffect(() => setDraft(read("session", key) ?? ""), [key]);
  useEffect(() => {
    if (!busy) setHint(null);
  }, [busy]);
  useLayoutEffect(() => {
    const field = area.current;
    if (!field) return;
    field.style.height = "auto";
    const line = parseFloat(getComputedStyle(field).lineHeight);
    const rim = field.offsetHeight - field.clientHeight;
    field.style.height = `${Math.min(field.scrollHeight, line * LINES + 24) + rim}px`;
  }, [draft]);

  const keep = (text: string) => {
    setDraft(text);
    write("session", key, text || null);
  };
  const send = () => {
    const text = draft.trim();
    if (!text) return;
    if (busy) {
      setHint("The reply is still coming. Esc stops it.");
      return;
    }
    keep("");
    client.send(text);
    onEnd();
  };
  const stop = () => {
    const text = client.stop();
    if (text) keep(text);
    area.current?.focus();
  };

  const notice = hint ?? session.notice;
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div class="strip">
        <span class="notice">
          {notice}
          {session.notice && !hint && (
            <button type="button" class="link-button" onClick={() => client.note(null)}>
              Dismiss
            </button>
          )}
        </span>
        {away && (
          <button type="button" class="plain-button to-end" onClick={onEnd}>
            Jump to latest <Icon name="down" />
          </button>
        )}
      </div>
      <div class="field">
        <textarea
          ref={area}
          rows={1}
          aria-label="Message"
          placeholder="Write a message"
          value={draft}
          onInput={(event) => keep(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              send();
            } else if (event.key === "ArrowUp" && !draft && !busy) {
              event.preventDefault();
              onEditLast();
            }
          }}
        />
        {busy ? (
          <button type="button" class="round stop" aria-label="Stop" title="Stop (Esc)" disabled={session.stopping} onClick={stop}>
            <StopIcon />
          </button>
        ) : (
          <button type="submit" class="round" aria-label="Send" title="Send (Enter)" disabled={!draft.trim()}>
            <Icon name="up" />
          </button>
        )}
      </div>
    </form>
  );
}
