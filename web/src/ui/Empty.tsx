import { useClient } from "./hooks";
import { Icon } from "./icons";
import { Mark } from "./Mark";

const TRIES = [
  "Explain what a slur means in music, in three sentences",
  "Write a Python function that counts the words in a text",
  "Plan a quiet weekend by the sea, as a table",
];

export function Empty({ onTry }: { onTry: (text: string) => void }) {
  const client = useClient();
  const { info } = client;
  const { session } = client;
  const assistants = info?.assistants ?? [];
  const chosen = session.assistant ?? "default";
  const assistant = assistants.find((each) => each.name === chosen) ?? assistants[0];
  const model = assistant?.model ?? info?.engine.model;
  return (
    <div class="scroll empty" tabindex={-1}>
      <div class="column">
        <Mark />
        <h2>{model ? `${model} is listening` : "What shall it be about"}</h2>
        <p class="from">{(assistant?.name === "default" && info?.engine.why) || "\u00a0"}</p>
        {assistants.length > 1 && (
          <fieldset class="assistants">
            <legend class="sr-only">Who shall answer</legend>
            {assistants.map((each) => (
              <label key={each.name}>
                <input type="radio" name="assistant" checked={each === assistant} onChange={() => client.choose(each.name)} />
                <span>{each.name}</span>
              </label>
            ))}
          </fieldset>
        )}
        <ul class="tries">
          {TRIES.map((text) => (
            <li>
              <button type="button" onClick={() => onTry(text)}>
                {text}
                <Icon name="up" />
              </button>
            </li>
          ))}
        </ul>
        <p class="from join">
          Models on another machine answer here too: run <code>legato agent --server {socketAddress()}</code> beside them.
        </p>
        {assistant?.disclaimer && <p class="from">{assistant.disclaimer}</p>}
      </div>
    </div>
  );
}

function socketAddress(): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/agents`;
}

export function Nothing({ words, onNew }: { words: string; onNew: () => void }) {
  return (
    <div class="scroll empty" tabindex={-1}>
      <div class="column">
        <Mark />
        <h2>{words}</h2>
        <p>
          <button type="button" class="solid-button" onClick={onNew}>
            Start a new one
          </button>
        </p>
      </div>
    </div>
  );
}
