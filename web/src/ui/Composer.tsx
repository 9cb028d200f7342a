import type { Ref } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { read, write } from "../live/keep";
import { Enclosures, useDrop, useEnclosures } from "./Attached";
import { CommandMenu, useMenu } from "./Commands";
import { useClient, useGrowing } from "./hooks";
import { Icon, StopIcon } from "./icons";

interface Props {
  area: Ref<HTMLTextAreaElement> & { current: HTMLTextAreaElement | null };
  away: boolean;
  onEnd: () => void;
  onEditLast: () => void;
}

const LINES = 8;

/** Why what was written is still here. */
const HELD = {
  upload: "A file is still on its way to the server.",
  refused: "A file was not taken. Leave it out, then send.",
  busy: "The reply is still coming. Esc stops it.",
  cut: "The connection is cut. Send this when it is back and the reply is done.",
};

export function Composer({ area, away, onEnd, onEditLast }: Props) {
  const client = useClient();
  const { session } = client;
  const key = `draft.${session.thread?.id ?? "new"}`;
  const [draft, setDraft] = useState(() => read("session", key) ?? "");
  const [held, setHeld] = useState<keyof typeof HELD | null>(null);
  const busy = session.busy;
  const readOnly = session.thread ? !session.thread.writable : false;
  const menu = useMenu(draft);
  const files = useEnclosures();
  const picker = useRef<HTMLInputElement>(null);
  const over = useDrop(readOnly ? null : files.add);

  useEffect(() => setDraft(read("session", key) ?? ""), [key]);
  useEffect(() => {
    if (!busy) setHeld(null);
  }, [busy, files.all]);
  useGrowing(area, draft, LINES);

  const keep = (text: string) => {
    setDraft(text);
    write("session", key, text || null);
  };
  const pick = (name: string) => {
    keep(`/${name} `);
    area.current?.focus();
  };
  const send = () => {
    const text = draft.trim();
    if (!text && files.parts.length === 0) return;
    if (files.uploading || files.refused) {
      setHeld(files.uploading ? "upload" : "refused");
      return;
    }
    const order = text.startsWith("/") && files.all.length === 0;
    if (busy && !order) {
      setHeld("busy");
      return;
    }
    keep("");
    setHeld(null);
    client.send(text, files.parts);
    files.clear();
    onEnd();
  };
  const stop = () => {
    const text = client.stop();
    if (text) keep(text);
    area.current?.focus();
  };

  const writers = session.thread?.writers ?? [];
  const writing = writers.length > 2 ? "Several people are writing" : writers.length ? `${writers.join(" and ")} ${writers.length === 1 ? "is" : "are"} writing` : null;
  const cut = session.phase !== "live";
  const notice = (held && HELD[held === "busy" && cut ? "cut" : held]) ?? session.notice ?? writing;
  return (
    <form
      class={over ? "composer over" : "composer"}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div class="strip">
        <span class="notice">
          {notice}
          {session.notice && !held && (
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
      <Enclosures all={files.all} onDrop={files.drop} />
      <div class="field">
        {menu && <CommandMenu menu={menu} onPick={(each) => pick(each.name)} />}
        <input
          ref={picker}
          class="sr-only"
          type="file"
          tabIndex={-1}
          aria-hidden="true"
          accept="image/png,image/jpeg,image/gif,image/webp,audio/*"
          multiple
          onChange={(event) => {
            files.add(event.currentTarget.files ?? []);
            event.currentTarget.value = "";
            area.current?.focus();
          }}
        />
        <button type="button" class="tool" aria-label="Add a picture or a recording" title="Add a picture or a recording" disabled={readOnly} onClick={() => picker.current?.click()}>
          <Icon name="clip" />
        </button>
        <textarea
          ref={area}
          rows={1}
          aria-label="Message"
          dir="auto"
          placeholder={readOnly ? "You can read along here" : "Write a message"}
          disabled={readOnly}
          aria-autocomplete={menu ? "list" : undefined}
          aria-controls={menu ? "commands" : undefined}
          aria-activedescendant={menu ? `command-${menu.at}` : undefined}
          value={draft}
          onInput={(event) => {
            const text = event.currentTarget.value;
            keep(text);
            client.typing(text !== "" && !text.startsWith("/"));
          }}
          onPaste={(event) => {
            const pasted = [...(event.clipboardData?.files ?? [])];
            if (pasted.length === 0) return;
            event.preventDefault();
            files.add(pasted);
          }}
          onKeyDown={(event) => {
            if (menu && !event.isComposing) {
              const chosen = menu.items[menu.at]!;
              if (event.key === "ArrowDown" || event.key === "ArrowUp") {
                event.preventDefault();
                menu.move(event.key === "ArrowDown" ? 1 : -1);
                return;
              }
              if (event.key === "Tab" || (event.key === "Enter" && !event.shiftKey && draft.toLowerCase() !== `/${chosen.name}`)) {
                event.preventDefault();
                pick(chosen.name);
                return;
              }
              if (event.key === "Escape") {
                event.stopPropagation();
                menu.close();
                return;
              }
            }
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
          <button type="button" class="round stop" aria-label="Stop" title={cut ? "Stop, once the connection is back" : "Stop (Esc)"} disabled={session.stopping} onClick={stop}>
            <StopIcon />
          </button>
        ) : (
          <button type="submit" class="round" aria-label="Send" title="Send (Enter)" disabled={readOnly || (!draft.trim() && files.parts.length === 0)}>
            <Icon name="up" />
          </button>
        )}
      </div>
    </form>
  );
}
