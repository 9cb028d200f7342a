import { useState } from "preact/hooks";
import type { CommandAnswer } from "../protocol";
import { told } from "../state/answer";
import { useClient } from "./hooks";
import { Icon } from "./icons";
import { CopyButton } from "./Message";
import { Prose } from "./Prose";

const TYPES = { md: "text/markdown", json: "application/json" };

/** What a command said. It is nobody's message: it stands at the end until the next thing is done. */
export function Answer({ answer }: { answer: CommandAnswer }) {
  const client = useClient();
  const [trouble, setTrouble] = useState<string | null>(null);
  const { text, copy, keep, fetch } = told(answer, location.origin);
  const save = async () => {
    const title = client.session.thread?.view?.title || "conversation";
    try {
      if (keep) download(new Blob([keep.text], { type: TYPES[keep.ending] }), `${title}.${keep.ending}`);
      else if (fetch) download(await client.file(fetch), `${title}.${fetch.endsWith("json") ? "json" : "md"}`);
      setTrouble(null);
    } catch (error) {
      setTrouble(error instanceof Error ? error.message : "It could not be saved.");
    }
  };
  return (
    <section class={answer.failed ? "answer failed" : "answer"} role={keep ? "region" : "status"} aria-label={`Answer to /${answer.name}`}>
      {keep ? (
        <pre class="keep" tabindex={0} dir="auto">
          {keep.text}
        </pre>
      ) : (
        <div class="words">
          <Prose key={answer.re ?? answer.text} text={text} live={false} />
          {trouble && <p class="trouble">{trouble}</p>}
        </div>
      )}
      <div class="answer-tools">
        {copy && <CopyButton text={copy} />}
        {(keep || fetch) && (
          <button type="button" class="tool" aria-label="Save as a file" title="Save as a file" onClick={() => void save()}>
            <Icon name="save" />
          </button>
        )}
        <button type="button" class="tool" aria-label="Close" title="Close" onClick={() => client.hush()}>
          <Icon name="close" />
        </button>
      </div>
    </section>
  );
}

function download(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
