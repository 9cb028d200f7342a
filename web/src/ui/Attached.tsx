import { useEffect, useRef, useState } from "preact/hooks";
import type { MessageView } from "../protocol";
import { useClient } from "./hooks";
import { Icon } from "./icons";

/** A file that goes out with the next message. */
export interface Enclosure {
  key: number;
  name: string;
  type: "image" | "audio" | null;
  /** What the server calls it, once it has it. */
  id: string | null;
  /** What to show of it here. */
  preview: string | null;
  trouble: string | null;
}

let count = 0;

/** The files of a message that is being written, and what can be done with them. */
export function useEnclosures() {
  const client = useClient();
  const [all, setAll] = useState<Enclosure[]>([]);
  const change = (key: number, news: Partial<Enclosure>) =>
    setAll((now) => now.map((each) => (each.key === key ? { ...each, ...news } : each)));
  const add = (files: Iterable<File>) => {
    for (const file of files) {
      const key = ++count;
      const preview = file.type.startsWith("image/") ? URL.createObjectURL(file) : null;
      setAll((now) => [...now, { key, name: file.name, type: null, id: null, preview, trouble: null }]);
      client.attach(file).then(
        (taken) => change(key, { id: taken.id, type: taken.type }),
        (error: unknown) => change(key, { trouble: error instanceof Error ? error.message : "The server did not take it." }),
      );
    }
  };
  const drop = (key: number) => {
    const gone = all.find((each) => each.key === key);
    if (gone?.preview) URL.revokeObjectURL(gone.preview);
    setAll((now) => now.filter((each) => each.key !== key));
  };
  const clear = () => {
    for (const each of all) if (each.preview) URL.revokeObjectURL(each.preview);
    setAll([]);
  };
  return {
    all,
    add,
    drop,
    clear,
    refused: all.some((each) => each.trouble),
    uploading: all.some((each) => !each.id && !each.trouble),
    parts: all.flatMap((each) => (each.id && each.type ? [{ type: each.type, attachment: each.id }] : [])),
  };
}

/**
 * Takes the files that are dropped anywhere on the page: a browser would leave it for them. `onFiles` is null while none
 * are wanted. Returns whether some are held over it.
 */
export function useDrop(onFiles: ((files: Iterable<File>) => void) | null): boolean {
  const [over, setOver] = useState(false);
  const take = useRef(onFiles);
  take.current = onFiles;
  useEffect(() => {
    const onOver = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = take.current ? "copy" : "none";
      setOver(take.current !== null);
    };
    const onLeave = (event: DragEvent) => {
      if (!event.relatedTarget) setOver(false);
    };
    const onDrop = (event: DragEvent) => {
      setOver(false);
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      take.current?.(event.dataTransfer.files);
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
  return over;
}

export function Enclosures({ all, onDrop }: { all: Enclosure[]; onDrop: (key: number) => void }) {
  if (all.length === 0) return null;
  return (
    <ul class="enclosures" aria-label="Files for this message">
      {all.map((each) => (
        <li key={each.key} class={each.trouble ? "enclosure refused" : "enclosure"}>
          {each.preview ? <img src={each.preview} alt="" /> : null}
          <span class="name">{each.name}</span>
          {each.trouble ? <span class="trouble">{each.trouble}</span> : !each.id && <span class="breath" aria-label="is being sent" />}
          <button type="button" class="tool" aria-label={`Leave ${each.name} out`} onClick={() => onDrop(each.key)}>
            <Icon name="close" />
          </button>
        </li>
      ))}
    </ul>
  );
}

/** What came with a message beside its text. */
export function Attached({ message }: { message: MessageView }) {
  return (
    <>
      {(message.parts ?? []).map((part, at) => {
        if (part.type === "image") return <Picture key={at} attachment={part.attachment ?? null} data={part.data ?? ""} />;
        if (part.type === "audio") return <Recording key={at} attachment={part.attachment ?? null} data={part.data ?? ""} transcript={part.transcript ?? null} />;
        return null;
      })}
    </>
  );
}

/** The address of an attachment, once it is here; `false`: it cannot be had. */
function useAttachment(attachment: string | null, data: string): string | null | false {
  const client = useClient();
  const [source, setSource] = useState<string | null | false>(data || null);
  useEffect(() => {
    if (!attachment) return;
    let here = true;
    client.picture(attachment).then(
      (url) => here && setSource(url),
      () => here && setSource(false),
    );
    return () => {
      here = false;
    };
  }, [attachment]);
  return source;
}

function Picture({ attachment, data }: { attachment: string | null; data: string }) {
  const source = useAttachment(attachment, data);
  if (source === false) return <p class="aside">A picture that cannot be shown.</p>;
  return source ? <img src={source} alt="A picture that was sent" /> : <span class="blank-picture" />;
}

function Recording({ attachment, data, transcript }: { attachment: string | null; data: string; transcript: string | null }) {
  const source = useAttachment(attachment, data);
  return (
    <>
      {source ? <audio controls src={source} /> : <p class="aside">{source === false ? "A recording that cannot be played." : "A recording"}</p>}
      {transcript && <p class="aside">Heard: {transcript}</p>}
    </>
  );
}
