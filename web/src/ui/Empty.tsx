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
  const assistant = info?.assistants[0];
  const model = assistant?.model ?? info?.engine.model;
  return (
    <div class="scroll empty" tabindex={-1}>
      <div class="column">
        <Mark />
        <h2>{model ? `${model} is listening` : "What shall it be about"}</h2>
        <p class="from">{info?.engine.why ?? "\u00a0"}</p>
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
        {assistant?.disclaimer && <p class="from">{assistant.disclaimer}</p>}
      </div>
    </div>
  );
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
