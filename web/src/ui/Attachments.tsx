import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import { read, write } from "../client/storage";
import type { FilePart, MessageView, Send } from "../protocol";
import { FileDialog } from "./FileDialog";
import { formatSize } from "./format";
import { useClient } from "./hooks";
import { Icon } from "./icons";

/** A file that is sent with the next message. */
export interface DraftAttachment {
  key: number;
  name: string;
  type: "image" | "audio" | "file" | null;
  size: number;
  /** The id on the server, or null until it is uploaded. */
  id: string | null;
  /** The object URL of an image, for the preview. */
  preview: string | null;
  error: string | null;
}

let lastKey = 0;

/** The attachments of each draft, by the key of its draft. Uploaded ones are kept in sessionStorage as well. */
const drafts = new Map<string, DraftAttachment[]>();

function draftOf(key: string): DraftAttachment[] {
  let draft = drafts.get(key);
  if (!draft) {
    try {
      const stored = JSON.parse(read("session", key) ?? "[]") as Pick<DraftAttachment, "id" | "name" | "type" | "size">[];
      draft = stored.map((each) => ({ ...each, key: ++lastKey, preview: null, error: null }));
    } catch {
      draft = [];
    }
    drafts.set(key, draft);
  }
  return draft;
}

/**
 * The attachments of the message in the composer. A file is uploaded as soon as it is added. They stay with their
 * conversation, whose draft has the key `draftKey`, and survive a reload.
 */
export function useDraftAttachments(draftKey: string) {
  const client = useClient();
  const [, rerender] = useReducer((count: number) => count + 1, 0);
  const lastDraftKey = useRef(draftKey);
  if (lastDraftKey.current !== draftKey) {
    // The new conversation got its id, and the client has moved the stored draft.
    const moved = read("session", "attachments.new") === null && read("session", draftKey) !== null;
    if (moved && !drafts.has(draftKey) && draftOf("attachments.new").length > 0) {
      drafts.set(draftKey, draftOf("attachments.new"));
      drafts.delete("attachments.new");
    }
    lastDraftKey.current = draftKey;
  }
  const attachments = draftOf(draftKey);
  const change = (key: string, next: DraftAttachment[]) => {
    drafts.set(key, next);
    const uploaded = next.filter((each) => each.id).map(({ id, name, type, size }) => ({ id, name, type, size }));
    write("session", key, uploaded.length ? JSON.stringify(uploaded) : null);
    rerender(undefined);
  };
  const update = (key: number, changes: Partial<DraftAttachment>) => {
    for (const [draft, all] of drafts) {
      if (all.some((each) => each.key === key)) change(draft, all.map((each) => (each.key === key ? { ...each, ...changes } : each)));
    }
  };
  useEffect(() => {
    for (const each of attachments) {
      if (each.type === "image" && each.id && !each.preview) client.attachmentUrl(each.id).then((preview) => update(each.key, { preview }), () => undefined);
    }
  }, [draftKey]);
  const add = (files: Iterable<File>) => {
    for (const file of files) {
      const key = ++lastKey;
      const preview = /^image\/(?!svg)/.test(file.type) ? URL.createObjectURL(file) : null;
      change(draftKey, [...draftOf(draftKey), { key, name: file.name, type: null, size: file.size, id: null, preview, error: null }]);
      client.uploadAttachment(file).then(
        (uploaded) => update(key, { id: uploaded.id, type: uploaded.type }),
        (error: unknown) => update(key, { error: error instanceof Error ? error.message : "The server rejected this file." }),
      );
    }
  };
  const remove = (key: number) => change(draftKey, attachments.filter((each) => each.key !== key));
  const clear = () => change(draftKey, []);
  return {
    attachments,
    add,
    remove,
    clear,
    rejected: attachments.some((each) => each.error),
    uploading: attachments.some((each) => !each.id && !each.error),
    parts: attachments.flatMap((each) => (each.id && each.type ? [partOf(each.type, each.id, each)] : [])),
  };
}

function partOf(type: "image" | "audio" | "file", attachment: string, { name, size }: DraftAttachment): NonNullable<Send["parts"]>[number] {
  return type === "file" ? { type, attachment, name, size } : { type, attachment };
}

/**
 * Call `onFiles` with the files that are dropped anywhere on the page. Without this, the browser would open the file instead
 * of the page. If `onFiles` is null, dropped files are ignored. Returns whether files are being dragged over the page.
 */
export function useFileDrop(onFiles: ((files: Iterable<File>) => void) | null): boolean {
  const [dragging, setDragging] = useState(false);
  const currentOnFiles = useRef(onFiles);
  currentOnFiles.current = onFiles;
  useEffect(() => {
    const onOver = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = currentOnFiles.current ? "copy" : "none";
      setDragging(currentOnFiles.current !== null);
    };
    const onLeave = (event: DragEvent) => {
      if (!event.relatedTarget) setDragging(false);
    };
    const onDrop = (event: DragEvent) => {
      setDragging(false);
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      currentOnFiles.current?.(event.dataTransfer.files);
    };
    window.addEventListener("dragover", onOver);
    window.addEventListener("dragleave", onLeave);
    window.addEventListener("drop", onDrop);
    return () => {
      window.removeEventListener("dragover", onOver);
      window.removeEventListener("dragleave", onLeave);
      window.removeEventListener("drop", onDrop);
    };
  }, []);
  return dragging;
}

export function DraftAttachments({ attachments, onRemove }: { attachments: DraftAttachment[]; onRemove: (key: number) => void }) {
  if (attachments.length === 0) return null;
  return (
    <ul class="attachments" aria-label="Files for this message">
      {attachments.map((each) => (
        <li key={each.key} class={each.error ? "attachment rejected" : "attachment"}>
          {each.preview ? <img src={each.preview} alt="" /> : null}
          <span class="name">{each.name}</span>
          {each.type === "file" && <span class="muted">{formatSize(each.size)}</span>}
          {each.error ? <span class="error">{each.error}</span> : !each.id && <span class="pulse" aria-label="uploading" />}
          <button type="button" class="icon-button" aria-label={`Remove ${each.name}`} onClick={() => onRemove(each.key)}>
            <Icon name="close" />
          </button>
        </li>
      ))}
    </ul>
  );
}

/** The images, recordings and text files of a message. */
export function MessageAttachments({ message }: { message: MessageView }) {
  return (
    <>
      {(message.parts ?? []).map((part, index) => {
        if (part.type === "image") return <ImageAttachment key={index} attachment={part.attachment ?? null} data={part.data ?? ""} />;
        if (part.type === "audio") return <AudioAttachment key={index} attachment={part.attachment ?? null} data={part.data ?? ""} transcript={part.transcript ?? null} />;
        if (part.type === "file") return <FileAttachment key={index} file={part} />;
        return null;
      })}
    </>
  );
}

/** The URL of an attachment: null while it is loading, false if it cannot be loaded. `data` is a `data:` URL or empty. */
function useAttachmentUrl(attachment: string | null, data: string): string | null | false {
  const client = useClient();
  const [url, setUrl] = useState<string | null | false>(data || null);
  useEffect(() => {
    if (!attachment) return;
    let mounted = true;
    client.attachmentUrl(attachment).then(
      (loaded) => mounted && setUrl(loaded),
      () => mounted && setUrl(false),
    );
    return () => {
      mounted = false;
    };
  }, [attachment]);
  return url;
}

function ImageAttachment({ attachment, data }: { attachment: string | null; data: string }) {
  const url = useAttachmentUrl(attachment, data);
  if (url === false) return <p class="note">This picture cannot be shown.</p>;
  return url ? <img src={url} alt="A picture that was sent" /> : <span class="image-placeholder" />;
}

function AudioAttachment({ attachment, data, transcript }: { attachment: string | null; data: string; transcript: string | null }) {
  const url = useAttachmentUrl(attachment, data);
  return (
    <>
      {url ? <audio controls src={url} /> : <p class="note">{url === false ? "This recording cannot be played." : "A recording"}</p>}
      {transcript && <p class="note">Transcript: {transcript}</p>}
    </>
  );
}

function FileAttachment({ file }: { file: FilePart }) {
  const [open, setOpen] = useState(false);
  const name = file.name || "File";
  return (
    <>
      <button type="button" class="attachment file" aria-haspopup="dialog" title={`Show ${name}`} onClick={() => setOpen(true)}>
        <Icon name="file" />
        <span class="name" dir="auto">{name}</span>
        <span class="muted">{formatSize(file.size ?? 0)}</span>
      </button>
      {open && <FileDialog file={file} onClose={() => setOpen(false)} />}
    </>
  );
}
