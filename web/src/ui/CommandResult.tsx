import { useState } from "preact/hooks";
import type { CommandAnswer } from "../protocol";
import { PREFIX } from "../client/address";
import { commandResultContent } from "../state/commandResult";
import { CopyButton } from "./CopyButton";
import { useClient } from "./hooks";
import { Icon } from "./icons";
import { Prose } from "./Prose";

const MEDIA_TYPES = { md: "text/markdown", json: "application/json" };

/** The result of a slash command. It is not part of the conversation: it is shown below the messages until the user does something else. */
export function CommandResult({ result }: { result: CommandAnswer }) {
  const client = useClient();
  const [error, setError] = useState<string | null>(null);
  const { text, copyText, exported, downloadPath } = commandResultContent(result, location.origin + PREFIX);
  const save = async () => {
    const title = client.session.conversation?.view?.title || "conversation";
    try {
      if (exported) download(new Blob([exported.text], { type: MEDIA_TYPES[exported.extension] }), `${title}.${exported.extension}`);
      else if (downloadPath) download(await client.fetchFile(downloadPath), `${title}.${downloadPath.endsWith("json") ? "json" : "md"}`);
      setError(null);
    } catch (error) {
      setError(error instanceof Error ? error.message : "It could not be saved.");
    }
  };
  return (
    <section class={result.failed ? "command-result failed" : "command-result"} role={exported ? "region" : "status"} aria-label={`Result of /${result.name}`}>
      {exported ? (
        <pre class="exported" tabindex={0} dir="auto">
          {exported.text}
        </pre>
      ) : (
        <div class="command-result-text">
          <Prose key={result.re ?? result.text} text={text} live={false} />
          {error && <p class="error">{error}</p>}
        </div>
      )}
      <div class="command-result-actions">
        {copyText && <CopyButton text={copyText} />}
        {(exported || downloadPath) && (
          <button type="button" class="icon-button" aria-label="Save as a file" title="Save as a file" onClick={() => void save()}>
            <Icon name="save" />
          </button>
        )}
        <button type="button" class="icon-button" aria-label="Close" title="Close" onClick={() => client.dismissCommandResult()}>
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
