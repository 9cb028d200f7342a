import { useState } from "preact/hooks";
import { useClient } from "./hooks";
import { Logo } from "./Logo";

/** The form for the user's token. */
export function SignIn() {
  const client = useClient();
  const [token, setToken] = useState("");
  const [remember, setRemember] = useState(false);
  return (
    <main class="sign-in">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim()) client.signIn(token.trim(), remember);
        }}
      >
        <Logo />
        <h1>Sign in</h1>
        <p>
          This server requires a token. Its operator creates one with <code>legato token --user NAME</code>.
        </p>
        {client.signInMessage && <p class="error">{client.signInMessage}</p>}
        <label>
          Token
          <input type="password" autocomplete="off" autofocus spellcheck={false} value={token} onInput={(event) => setToken(event.currentTarget.value)} />
        </label>
        <label class="remember">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.currentTarget.checked)} />
          Remember it in this browser
        </label>
        <button type="submit" class="primary-button" disabled={!token.trim()}>
          Sign in
        </button>
      </form>
    </main>
  );
}
