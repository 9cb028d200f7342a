import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Client } from "../live/client";
import { Composer } from "./Composer";
import { Connection } from "./Connection";
import { Door } from "./Door";
import { Empty, Nothing } from "./Empty";
import { ClientContext, useClient } from "./hooks";
import { Icon } from "./icons";
import { Keys } from "./Keys";
import { People } from "./People";
import { Rail } from "./Rail";
import { Thread } from "./Thread";

export function App({ client }: { client: Client }) {
  return (
    <ClientContext.Provider value={client}>
      <House />
      <Ears />
    </ClientContext.Provider>
  );
}

/** The one polite region: when a reply begins, and when it is done. */
function Ears() {
  const client = useClient();
  return (
    <div class="sr-only" role="status" aria-live="polite">
      {client.spoken}
    </div>
  );
}

const typing = (target: EventTarget | null) => target instanceof HTMLElement && target.matches("input, textarea, [contenteditable]");
const NARROW = "(max-width: 800px)";
const phone = () => matchMedia(NARROW).matches;
const finger = () => matchMedia("(pointer: coarse)").matches;

function House() {
  const client = useClient();
  const { session } = client;
  const [drawer, setDrawer] = useState(false);
  const [keys, setKeys] = useState(false);
  const [editing, setEditing] = useState<string | null>(null);
  const [away, setAway] = useState(false);
  const [toEnd, setToEnd] = useState(0);
  const area = useRef<HTMLTextAreaElement>(null);
  const search = useRef<HTMLInputElement>(null);
  const menu = useRef<HTMLButtonElement>(null);
  const rail = useRef<HTMLElement>(null);
  const thread = session.thread;
  const title = thread?.view?.title || (thread ? "" : "New conversation");

  useEffect(() => {
    document.title = thread?.view?.title ? `${thread.view.title} · Legato` : "Legato";
  }, [thread?.view?.title]);

  const focus = () => {
    if (!finger()) area.current?.focus();
  };
  useEffect(() => {
    setEditing(null);
    setAway(false);
    focus();
  }, [thread?.id, client.locked === null]);

  // What is behind the drawer cannot have the focus until the drawer is closed.
  const behind = useRef<(() => void) | null>(null);
  useLayoutEffect(() => {
    if (drawer && !rail.current?.contains(document.activeElement)) rail.current?.querySelector<HTMLElement>("a, button")?.focus();
    if (!drawer) behind.current?.();
    behind.current = null;
  }, [drawer]);
  useEffect(() => {
    const narrow = matchMedia(NARROW);
    const onChange = () => setDrawer(false);
    narrow.addEventListener("change", onChange);
    return () => narrow.removeEventListener("change", onChange);
  }, []);

  const closeDrawer = () => {
    if (!drawer) return;
    behind.current = () => menu.current?.focus();
    setDrawer(false);
  };
  const pick = (conversation: string | null) => {
    if (drawer) behind.current = () => (finger() ? menu.current : area.current)?.focus();
    setDrawer(false);
    client.open(conversation);
    focus();
  };
  const takeBack = () => {
    const text = client.discard();
    const field = area.current;
    if (!text || !field) return;
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  };
  const editLast = () => {
    const last = session.shown().places.findLast((place) => place.message.role === "user");
    if (last) setEditing(last.message.id);
  };

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
        if (drawer) closeDrawer();
        else if (session.busy && !session.stopping) client.stop();
      } else if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
        event.preventDefault();
        if (phone()) setDrawer(true);
        requestAnimationFrame(() => search.current?.select());
      } else if (event.key === "?" && !typing(event.target)) {
        event.preventDefault();
        setKeys(true);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  });

  if (client.locked !== null) return <Door />;

  const assistants = client.info?.assistants ?? [];
  const speaker = assistants.find((each) => each.name === (thread ? thread.view?.assistant : session.assistant)) ?? assistants.find((each) => each.name === "default") ?? assistants[0];
  const model = speaker?.model ?? client.info?.engine.model ?? "";
  const who = speaker && speaker.name !== "default" ? [speaker.name, model].filter(Boolean).join(" · ") : model;
  const gone = thread?.missing ? "There is no such conversation" : thread?.deleted ? "This conversation was deleted, or you are no longer in it" : null;
  const empty = !thread && !session.pending && !session.answer;
  return (
    <div class={drawer ? "house open" : "house"}>
      <a
        class="skip"
        href="#message"
        onClick={(event) => {
          event.preventDefault();
          area.current?.focus();
        }}
      >
        To the message
      </a>
      <Rail rail={rail} search={search} onPick={pick} onKeys={() => setKeys(true)} />
      <div class="shade" onClick={closeDrawer} />
      <main class="sheet" inert={drawer} data-live={session.phase === "live"}>
        <header class="top">
          <button ref={menu} type="button" class="tool menu" aria-label="Conversations" aria-expanded={drawer} onClick={() => setDrawer(!drawer)}>
            <Icon name="menu" />
          </button>
          <h1 title={title} dir="auto">{title || "\u00a0"}</h1>
          <span class="who">{title === who ? "" : who}</span>
          <People />
          <Connection />
        </header>
        {gone ? (
          <Nothing words={gone} onNew={() => pick(null)} />
        ) : empty ? (
          <Empty onTry={(text) => client.send(text)} />
        ) : (
          <Thread editing={editing} onEdit={(id) => { setEditing(id); if (!id) focus(); }} speaker={who} onAway={setAway} onTakeBack={takeBack} toEnd={toEnd} />
        )}
        {!gone && <Composer area={area} away={away && !empty} onEnd={() => setToEnd((count) => count + 1)} onEditLast={editLast} />}
      </main>
      {keys && <Keys onClose={() => { setKeys(false); focus(); }} />}
    </div>
  );
}
