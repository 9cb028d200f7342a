import type { Ref } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Listed } from "../live/rest";
import { useClient } from "./hooks";
import { Icon } from "./icons";
import { Mark } from "./Mark";
import { ThemeSwitch } from "./Theme";
import { day } from "./words";

interface Props {
  rail: Ref<HTMLElement>;
  search: Ref<HTMLInputElement> & { current: HTMLInputElement | null };
  onPick: (conversation: string | null) => void;
  onKeys: () => void;
}

export function Rail({ rail, search, onPick, onKeys }: Props) {
  const client = useClient();
  const groups = new Map<string, Listed[]>();
  const now = new Date();
  for (const each of client.list) {
    const name = client.query.trim() ? "Found" : day(each.updated_at, now);
    groups.set(name, [...(groups.get(name) ?? []), each]);
  }
  // The list is one stop of the Tab key, however long it is; the arrows walk in it.
  const list = useRef<HTMLDivElement>(null);
  const [stood, setStood] = useState<string | null>(null);
  const among = (id: string | null | undefined) => client.list.find((each) => each.id === id)?.id;
  const stop = among(stood) ?? among(client.session.thread?.id) ?? client.list[0]?.id;
  const links = () => [...(list.current?.querySelectorAll<HTMLElement>(".item a") ?? [])];
  const walk = (event: KeyboardEvent) => {
    const all = links();
    const at = all.findIndex((each) => each === document.activeElement);
    if (at < 0) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0) search.current?.focus();
    else all[to]?.focus();
  };
  return (
    <nav ref={rail} class="rail" aria-label="Conversations">
      <div class="rail-head">
        <a
          class="home"
          href="/"
          onClick={(event) => {
            event.preventDefault();
            onPick(null);
          }}
        >
          <Mark />
          Legato
        </a>
        <button type="button" class="tool" aria-label="New conversation" title="New conversation" onClick={() => onPick(null)}>
          <Icon name="plus" />
        </button>
      </div>
      <label class="search">
        <Icon name="search" />
        <input
          ref={search}
          type="search"
          aria-label="Find a conversation"
          dir="auto"
          placeholder="Find"
          value={client.query}
          onInput={(event) => client.search(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape" && client.query) {
              event.stopPropagation();
              client.search("");
            } else if (event.key === "Enter" && client.list[0]) {
              onPick(client.list[0].id);
            } else if (event.key === "ArrowDown" && client.list[0]) {
              event.preventDefault();
              links()[0]?.focus();
            }
          }}
        />
        <kbd aria-hidden="true">Ctrl K</kbd>
      </label>
      <div class="list" ref={list} onKeyDown={walk}>
        {[...groups].map(([name, items]) => (
          <section key={name}>
            <h2>{name}</h2>
            <ul>
              {items.map((each) => (
                <Item key={each.id} item={each} stop={each.id === stop} onFocus={() => setStood(each.id)} onPick={onPick} />
              ))}
            </ul>
          </section>
        ))}
        {client.listed && client.list.length === 0 && <p class="none">{client.query.trim() ? "Nothing of that is in your conversations." : "Your conversations will be here."}</p>}
        {client.listError && <p class="none">{client.listError}</p>}
        {client.next && !client.query.trim() && (
          <button type="button" class="plain-button more" onClick={() => void client.more()}>
            Show earlier ones
          </button>
        )}
      </div>
      <div class="rail-foot">
        <ThemeSwitch />
        <button type="button" class="tool" aria-label="Keys" title="Keys (?)" onClick={onKeys}>
          <Icon name="keys" />
        </button>
        <span class="version">{client.info?.server}</span>
      </div>
    </nav>
  );
}

interface ItemProps {
  item: Listed;
  /** Whether the Tab key stops here. */
  stop: boolean;
  onFocus: () => void;
  onPick: (conversation: string) => void;
}

function Item({ item, stop, onFocus, onPick }: ItemProps) {
  const client = useClient();
  const [mode, setMode] = useState<"rest" | "rename" | "delete">("rest");
  const field = useRef<HTMLInputElement>(null);
  const yes = useRef<HTMLButtonElement>(null);
  const current = client.session.thread?.id === item.id;
  const title = (current && client.session.thread?.view?.title) || item.title || "New conversation";

  useEffect(() => {
    if (mode === "rename") field.current?.select();
    if (mode === "delete") yes.current?.focus();
  }, [mode]);

  const tab = stop ? 0 : -1;
  if (mode === "rename") {
    const done = (keep: boolean) => {
      const next = field.current?.value.trim();
      setMode("rest");
      if (keep && next && next !== item.title) void client.rename(item.id, next);
    };
    return (
      <li class="item">
        <input
          ref={field}
          class="rename"
          aria-label="Title"
          dir="auto"
          defaultValue={item.title}
          maxLength={200}
          onBlur={() => done(true)}
          onKeyDown={(event) => {
            if (event.key === "Enter") done(true);
            if (event.key === "Escape") {
              event.stopPropagation();
              done(false);
            }
          }}
        />
      </li>
    );
  }
  if (mode === "delete") {
    return (
      <li class="item asks">
        <span>Delete it?</span>
        <button ref={yes} type="button" class="link-button danger" onClick={() => void client.remove(item.id)}>
          Delete
        </button>
        <button type="button" class="link-button" onClick={() => setMode("rest")}>
          Keep
        </button>
      </li>
    );
  }
  return (
    <li class={current ? "item current" : "item"} onFocusIn={onFocus}>
      <a
        tabIndex={tab}
        href={`/c/${encodeURIComponent(item.id)}`}
        aria-current={current ? "page" : undefined}
        onClick={(event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          onPick(item.id);
        }}
      >
        <span class="title" dir="auto">{title}</span>
        {item.snippet && <span class="snippet" dir="auto">{item.snippet}</span>}
      </a>
      <span class="item-tools">
        <button type="button" class="tool" tabIndex={tab} aria-label={`Rename ${title}`} title="Rename" onClick={() => setMode("rename")}>
          <Icon name="pencil" />
        </button>
        <button type="button" class="tool" tabIndex={tab} aria-label={`Delete ${title}`} title="Delete" onClick={() => setMode("delete")}>
          <Icon name="trash" />
        </button>
      </span>
    </li>
  );
}
