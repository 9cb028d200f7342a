import type { Ref } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { read, write } from "../client/storage";
import { DraftAttachments, useDraftAttachments, useFileDrop } from "./Attachments";
import { CommandMenu, useCommandMenu } from "./CommandMenu";
import { useAutoHeight, useClient } from "./hooks";
import { Icon, StopIcon } from "./icons";

interface Props {
  input: Ref<HTMLTextAreaElement> & { current: HTMLTextAreaElement | null };
  scrolledUp: boolean;
  onJumpToLatest: () => void;
  onEditLast: () => void;
}

const MAX_LINES = 8;

/** Why the message was not sent. */
const BLOCKED_REASONS = {
  upload: "A file is still being uploaded.",
  rejected: "A file was rejected. Remove it, then send.",
  busy: "The reply is still coming. Esc stops it.",
  disconnected: "The connection is cut. Send this when it is back and the reply is done.",
};

export function Composer({ input, scrolledUp, onJumpToLatest, onEditLast }: Props) {
  const client = useClient();
  const { session } = client;
  const key = `draft.${session.conversation?.id ?? "new"}`;
  const [draft, setDraft] = useState(() => read("session", key) ?? "");
  const [blocked, setBlocked] = useState<keyof typeof BLOCKED_REASONS | null>(null);
  const busy = session.busy;
  const readOnly = session.conversation ? !session.conversation.canWrite : false;
  const menu = useCommandMenu(draft);
  const files = useDraftAttachments(`attachments.${session.conversation?.id ?? "new"}`);
  const picker = useRef<HTMLInputElement>(null);
  const dragging = useFileDrop(readOnly ? null : files.add);

  useEffect(() => setDraft(read("session", key) ?? ""), [key]);
  useEffect(() => {
    if (!busy) setBlocked(null);
  }, [busy, files.attachments]);
  useAutoHeight(input, draft, MAX_LINES);

  const updateDraft = (text: string) => {
    setDraft(text);
    write("session", key, text || null);
  };
  const insertCommand = (name: string) => {
    updateDraft(`/${name} `);
    input.current?.focus();
  };
  const send = () => {
    const text = draft.trim();
    if (!text && files.parts.length === 0) return;
    if (files.uploading || files.rejected) {
      setBlocked(files.uploading ? "upload" : "rejected");
      return;
    }
    const isCommand = text.startsWith("/") && files.attachments.length === 0;
    if (busy && !isCommand) {
      setBlocked("busy");
      return;
    }
    updateDraft("");
    setBlocked(null);
    client.send(text, files.parts);
    files.clear();
    onJumpToLatest();
  };
  const stop = () => {
    const text = client.stop();
    if (text) updateDraft(text);
    input.current?.focus();
  };

  const typingNames = session.conversation?.typingNames ?? [];
  const disconnected = session.phase !== "live";
  const notice = (blocked && BLOCKED_REASONS[blocked === "busy" && disconnected ? "disconnected" : blocked]) ?? session.notice ?? typingNotice(typingNames);
  return (
    <form
      class={dragging ? "composer dragging" : "composer"}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div class="composer-status">
        <span class="notice">
          {notice}
          {session.notice && !blocked && (
            <button type="button" class="link-button" onClick={() => client.setNotice(null)}>
              Dismiss
            </button>
          )}
        </span>
        {scrolledUp && (
          <button type="button" class="secondary-button jump-to-latest" onClick={onJumpToLatest}>
            Jump to latest <Icon name="down" />
          </button>
        )}
      </div>
      <DraftAttachments attachments={files.attachments} onRemove={files.remove} />
      <div class="field">
        {menu && <CommandMenu menu={menu} onPick={(each) => insertCommand(each.name)} />}
        <input
          ref={picker}
          class="sr-only"
          type="file"
          tabIndex={-1}
          aria-hidden="true"
          accept="image/png,image/jpeg,image/gif,image/webp,audio/*,text/*,application/json,.md,.csv,.log,.toml,.yaml,.yml,.sql,.sh,.py,.rs,.go,.ts,.tsx,.jsx,.java,.c,.h,.cpp"
          multiple
          onChange={(event) => {
            files.add(event.currentTarget.files ?? []);
            event.currentTarget.value = "";
            input.current?.focus();
          }}
        />
        {!readOnly && (
          <button type="button" class="icon-button" aria-label="Add a file" title="Add a picture, a recording or a text file" onClick={() => picker.current?.click()}>
            <Icon name="attach" />
          </button>
        )}
        <textarea
          ref={input}
          rows={1}
          aria-label="Message"
          dir="auto"
          placeholder={readOnly ? "You can only read here" : "Write a message"}
          disabled={readOnly}
          aria-autocomplete={menu ? "list" : undefined}
          aria-controls={menu ? "command-menu" : undefined}
          aria-activedescendant={menu ? `command-${menu.selected}` : undefined}
          value={draft}
          onInput={(event) => {
            const text = event.currentTarget.value;
            updateDraft(text);
            client.setTyping(text !== "" && !text.startsWith("/"));
          }}
          onPaste={(event) => {
            const pasted = [...(event.clipboardData?.files ?? [])];
            const text = event.clipboardData?.getData("text/plain") ?? "";
            if (pasted.length === 0 && !tooLong(draft + text, session.maxFrameBytes)) return;
            event.preventDefault();
            if (pasted.length === 0) client.setNotice("The pasted text is too long for a message, so it was added as a file.");
            files.add(pasted.length ? pasted : [new File([text], "pasted.txt", { type: "text/plain" })]);
          }}
          onKeyDown={(event) => {
            if (menu && !event.isComposing) {
              const selected = menu.items[menu.selected]!;
              if (event.key === "ArrowDown" || event.key === "ArrowUp") {
                event.preventDefault();
                menu.move(event.key === "ArrowDown" ? 1 : -1);
                return;
              }
              if (event.key === "Tab" || (event.key === "Enter" && !event.shiftKey && draft.toLowerCase() !== `/${selected.name}`)) {
                event.preventDefault();
                insertCommand(selected.name);
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
        {readOnly ? null : busy ? (
          <button type="button" class="send-button stop-button" aria-label="Stop" title={disconnected ? "Stop when the connection is back" : "Stop (Esc)"} disabled={session.stopping} onClick={stop}>
            <StopIcon />
          </button>
        ) : (
          <button type="submit" class="send-button" aria-label="Send" title="Send (Enter)" disabled={!draft.trim() && files.parts.length === 0}>
            <Icon name="up" />
          </button>
        )}
      </div>
    </form>
  );
}

/** Characters of a message. The server accepts no more. */
const MAX_TEXT_LENGTH = 200_000;
/** Bytes of a frame that are not the text of its message. */
const FRAME_OVERHEAD = 4_096;

function tooLong(text: string, maxFrameBytes: number): boolean {
  if (text.length > MAX_TEXT_LENGTH) return true;
  return new TextEncoder().encode(JSON.stringify(text)).length > maxFrameBytes - FRAME_OVERHEAD;
}

function typingNotice(names: string[]): string | null {
  if (names.length === 0) return null;
  if (names.length > 2) return "Several people are writing";
  return `${names.join(" and ")} ${names.length === 1 ? "is" : "are"} writing`;
}
