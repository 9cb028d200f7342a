import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Client } from "../client/client";
import { Composer } from "./Composer";
import { ConnectionStatus } from "./ConnectionStatus";
import { ClientContext, useClient } from "./hooks";
import { Icon } from "./icons";
import { keepFocus } from "./focus";
import { JoinDialog } from "./JoinDialog";
import { MessageList, type SearchMatch } from "./MessageList";
import { ParticipantsButton } from "./Participants";
import { Shortcuts } from "./Shortcuts";
import { Sidebar } from "./Sidebar";
import { SignIn } from "./SignIn";
import { ConversationUnavailable, Welcome } from "./Welcome";

export function App({ client }: { client: Client }) {
  return (
    <ClientContext.Provider value={client}>
      <Layout />
      <LiveRegion />
    </ClientContext.Provider>
  );
}

/** The only live region of the page. It tells screen readers when a reply begins and ends. */
function LiveRegion() {
  const client = useClient();
  return (
    <div class="sr-only" role="status" aria-live="polite">
      {client.announcement}
    </div>
  );
}

const isTextInput = (target: EventTarget | null) => target instanceof HTMLElement && target.matches("input, textarea, [contenteditable]");
const NARROW_QUERY = "(max-width: 800px)";
const isNarrow = () => matchMedia(NARROW_QUERY).matches;
const isTouch = () => matchMedia("(pointer: coarse)").matches;

function Layout() {
  const client = useClient();
  const { session } = client;
  const [drawerOpen, setDrawerOpen] = useState(false);
  const [shortcutsOpen, setShortcutsOpen] = useState(false);
  const [editing, setEditing] = useState<string | null>(null);
  const [scrolledUp, setScrolledUp] = useState(false);
  const [jumpCount, setJumpCount] = useState(0);
  const [match, setMatch] = useState<SearchMatch | null>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const search = useRef<HTMLInputElement>(null);
  const menuButton = useRef<HTMLButtonElement>(null);
  const sidebar = useRef<HTMLElement>(null);
  const { conversation } = session;
  const title = conversation?.view?.title || (conversation ? "" : "New conversation");

  useEffect(() => {
    document.title = conversation?.view?.title ? `${conversation.view.title} · Legato` : "Legato";
  }, [conversation?.view?.title]);

  const focusInput = () => {
    if (!isTouch()) input.current?.focus();
  };
  useEffect(() => {
    setEditing(null);
    setScrolledUp(false);
    focusInput();
  }, [conversation?.id, client.signInMessage === null]);

  // The elements behind the open drawer are inert. They can get the focus only after the drawer is closed.
  const afterDrawerCloses = useRef<(() => void) | null>(null);
  useLayoutEffect(() => {
    if (drawerOpen && !sidebar.current?.contains(document.activeElement)) sidebar.current?.querySelector<HTMLElement>("a, button")?.focus();
    if (!drawerOpen) afterDrawerCloses.current?.();
    afterDrawerCloses.current = null;
  }, [drawerOpen]);
  useEffect(() => {
    const narrow = matchMedia(NARROW_QUERY);
    const onChange = () => setDrawerOpen(false);
    narrow.addEventListener("change", onChange);
    return () => narrow.removeEventListener("change", onChange);
  }, []);

  useEffect(() => keepFocus(() => (isTouch() ? null : input.current)), []);

  const closeDrawer = () => {
    if (!drawerOpen) return;
    afterDrawerCloses.current = () => menuButton.current?.focus();
    setDrawerOpen(false);
  };
  const openConversation = (id: string | null, match: SearchMatch | null = null) => {
    if (drawerOpen) afterDrawerCloses.current = () => (isTouch() ? menuButton.current : input.current)?.focus();
    setDrawerOpen(false);
    client.openConversation(id);
    setMatch(match);
    focusInput();
  };
  const fillInput = (text: string) => {
    const field = input.current;
    if (!field) return;
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  };
  const editPending = () => {
    const text = client.discardPending();
    if (text) fillInput(text);
  };
  const editLast = () => {
    const last = session.visibleMessages().nodes.findLast((node) => node.message.role === "user");
    if (last) setEditing(last.message.id);
  };

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
        if (drawerOpen) closeDrawer();
        else if (session.commandResult) client.dismissCommandResult();
        else if (session.busy && !session.stopping) {
          const text = client.stop();
          if (text) fillInput(text);
        }
      } else if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
        event.preventDefault();
        if (isNarrow()) setDrawerOpen(true);
        requestAnimationFrame(() => search.current?.select());
      } else if (event.key === "?" && !isTextInput(event.target)) {
        event.preventDefault();
        setShortcutsOpen(true);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  });

  if (client.signInMessage !== null) return <SignIn />;

  const { assistant, model, available } = client.answering;
  const assistantLabel = assistant && assistant.name !== "default" ? [assistant.name, model].filter(Boolean).join(" · ") : model;
  const unavailable = conversation?.notFound ? "This conversation does not exist or is not yours" : conversation?.deleted ? "This conversation was deleted, or you are no longer in it" : null;
  const hasMessages = session.visibleMessages().nodes.length > 0 || session.pending !== null;
  const empty = !hasMessages && !session.commandResult && (!conversation || conversation.view !== null);
  return (
    <div class={drawerOpen ? "layout drawer-open" : "layout"}>
      <a
        class="skip-link"
        href="#message"
        onClick={(event) => {
          event.preventDefault();
          input.current?.focus();
        }}
      >
        Skip to the message field
      </a>
      <Sidebar sidebar={sidebar} search={search} onOpen={openConversation} onShortcuts={() => setShortcutsOpen(true)} />
      <div class="backdrop" onClick={closeDrawer} />
      <main class="main-panel" inert={drawerOpen} data-live={session.phase === "live"}>
        <header class="top-bar">
          <button ref={menuButton} type="button" class="icon-button menu" aria-label="Conversations" aria-expanded={drawerOpen} onClick={() => setDrawerOpen(!drawerOpen)}>
            <Icon name="menu" />
          </button>
          <div class="heading">
            <h1 title={title} dir="auto">{title || "\u00a0"}</h1>
            <span class={available ? "assistant-label" : "assistant-label unavailable"}>
              {title === assistantLabel ? "" : assistantLabel}
              {!available && " cannot answer now"}
            </span>
          </div>
          <ParticipantsButton />
          <ConnectionStatus />
        </header>
        {unavailable ? (
          <ConversationUnavailable reason={unavailable} onNew={() => openConversation(null)} />
        ) : empty ? (
          <Welcome onSuggestion={(text) => client.send(text)} />
        ) : (
          <MessageList
            editing={editing}
            onEdit={(id) => {
              setEditing(id);
              if (!id) focusInput();
            }}
            assistantLabel={assistantLabel}
            onScrolledUp={setScrolledUp}
            onEditPending={editPending}
            jumpCount={jumpCount}
            match={match}
          />
        )}
        {!unavailable && <Composer input={input} scrolledUp={scrolledUp && !empty} onJumpToLatest={() => setJumpCount((count) => count + 1)} onEditLast={editLast} />}
      </main>
      <JoinDialog />
      {shortcutsOpen && <Shortcuts onClose={() => { setShortcutsOpen(false); focusInput(); }} />}
    </div>
  );
}
