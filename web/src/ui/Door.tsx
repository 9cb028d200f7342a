import { useState } from "preact/hooks";
import { useClient } from "./hooks";
import { Mark } from "./Mark";

/** Where a person shows a token. */
export function Door() {
  const client = useClient();
  const [token, setToken] = useState("");
  const [keep, setKeep] = useState(false);
  return (
    <main class="door">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim()) client.unlock(token.trim(), keep);
        }}
      >
        <Mark />
        <h1>Who is there</h1>
        <p>
          This server wants a token. Whoever runs it gets one with <code>legato token --user NAME</code>.
        </p>
        {client.locked && <p class="trouble">{client.locked}</p>}
        <label>
          Token
          <input type="password" autocomplete="off" autofocus spellcheck={false} value={token} onInput={(event) => setToken(event.currentTarget.value)} />
        </label>
        <label class="keep">
          <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.currentTarget.checked)} />
          Keep it in this browser
        </label>
        <button type="submit" class="solid-button" disabled={!token.trim()}>
          Come in
        </button>
      </form>
    </main>
  );
}
