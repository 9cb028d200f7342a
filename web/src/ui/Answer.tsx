import type { CommandAnswer } from "../protocol";
import { useClient } from "./hooks";
import { Icon } from "./icons";
import { Prose } from "./Prose";

/** What a command said. It is nobody's message: it stands at the end until the next thing is done. */
export function Answer({ answer }: { answer: CommandAnswer }) {
  const client = useClient();
  return (
    <section class={answer.failed ? "answer failed" : "answer"} role="status" aria-label={`Answer to /${answer.name}`}>
      <Prose key={answer.re ?? answer.text} text={answer.text} live={false} />
      <button type="button" class="tool" aria-label="Close" onClick={() => client.hush()}>
        <Icon name="close" />
      </button>
    </section>
  );
}
