import { PREFIX } from "../client/address";
import { useClient } from "./hooks";
import { Icon } from "./icons";
import { Logo } from "./Logo";

const SUGGESTIONS = [
  "Explain what a slur means in music, in three sentences",
  "Write a Python function that counts the words in a text",
  "Plan a quiet weekend by the sea, as a table",
];

/** The page of a new conversation. */
export function Welcome({ onSuggestion }: { onSuggestion: (text: string) => void }) {
  const client = useClient();
  const { info, session } = client;
  const assistants = info?.assistants ?? [];
  const { assistant, model, available } = client.answering;
  return (
    <div class="scroll welcome" tabindex={-1}>
      <div class="column">
        <Logo />
        <h2>{available ? (model ? `Chat with ${model}` : "Start a conversation") : `${model || "The model"} cannot answer now`}</h2>
        <p class="hint">{available ? (assistant?.name === "default" && info?.engine.why) || "\u00a0" : unavailableHint(assistant?.engine)}</p>
        {!session.conversation && assistants.length > 1 && (
          <fieldset class="assistants">
            <legend class="sr-only">Assistant</legend>
            {assistants.map((each) => (
              <label key={each.name}>
                <input type="radio" name="assistant" checked={each === assistant} onChange={() => client.chooseAssistant(each.name)} />
                <span>{each.name}</span>
              </label>
            ))}
          </fieldset>
        )}
        <ul class="suggestions">
          {SUGGESTIONS.map((text) => (
            <li>
              <button type="button" onClick={() => onSuggestion(text)}>
                {text}
                <Icon name="up" />
              </button>
            </li>
          ))}
        </ul>
        <p class="hint agent-hint">
          To use models on another machine, run <code>legato agent --server {agentUrl()}</code> there.
        </p>
        {assistant?.disclaimer && <p class="hint">{assistant.disclaimer}</p>}
      </div>
    </div>
  );
}

function unavailableHint(engine: string | undefined): string {
  if (engine === "fleet") return "No machine with models is connected. Start an agent on one, as shown below.";
  return "Its engine does not answer. You can send a message when it runs again.";
}

/** The WebSocket URL for agents. */
function agentUrl(): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${PREFIX}/ws/agents`;
}

/** The page of a conversation that does not exist, or that the user does not take part in. */
export function ConversationUnavailable({ reason, onNew }: { reason: string; onNew: () => void }) {
  return (
    <div class="scroll welcome" tabindex={-1}>
      <div class="column">
        <Logo />
        <h2>{reason}</h2>
        <p>Check the address, or ask the person who sent it for an invitation link. Your own conversations are in the list.</p>
        <p>
          <button type="button" class="primary-button" onClick={onNew}>
            Start a new conversation
          </button>
        </p>
      </div>
    </div>
  );
}
