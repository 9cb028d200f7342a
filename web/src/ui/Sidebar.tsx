import type { Ref } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { pathOfConversation } from "../client/address";
import type { ConversationSummary } from "../client/rest";
import { dayHeading } from "./format";
import { useClient } from "./hooks";
import { Icon } from "./icons";
import { Logo } from "./Logo";
import type { SearchMatch } from "./MessageList";
import { ThemeSwitch } from "./ThemeSwitch";

interface Props {
  sidebar: Ref<HTMLElement>;
  search: Ref<HTMLInputElement> & { current: HTMLInputElement | null };
  onOpen: (id: string | null, match?: SearchMatch | null) => void;
  onShortcuts: () => void;
}

export function Sidebar({ sidebar, search, onOpen, onShortcuts }: Props) {
  const client = useClient();
  const { conversations } = client;
  const groups = new Map<string, ConversationSummary[]>();
  const now = new Date();
  for (const each of conversations.items) {
    const name = conversations.query.trim() ? "Results" : dayHeading(each.updated_at, now);
    groups.set(name, [...(groups.get(name) ?? []), each]);
  }
  // The whole list is one tab stop. The arrow keys move the focus inside it.
  const list = useRef<HTMLDivElement>(null);
  const [focusedId, setFocusedId] = useState<string | null>(null);
  const knownId = (id: string | null | undefined) => conversations.items.find((each) => each.id === id)?.id;
  const tabStopId = knownId(focusedId) ?? knownId(client.session.conversation?.id) ?? conversations.items[0]?.id;
  const links = () => [...(list.current?.querySelectorAll<HTMLElement>(".item a") ?? [])];
  const onArrowKey = (event: KeyboardEvent) => {
    const all = links();
    const index = all.findIndex((each) => each === document.activeElement);
    if (index < 0) return;
    const target = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: all.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    if (target < 0) search.current?.focus();
    else all[target]?.focus();
  };
  return (
    <nav ref={sidebar} class="sidebar" aria-label="Conversations">
      <div class="sidebar-header">
        <a
          class="home"
          href={pathOfConversation(null)}
          onClick={(event) => {
            event.preventDefault();
            onOpen(null);
          }}
        >
          <Logo />
          Legato
        </a>
        <button type="button" class="icon-button" aria-label="New conversation" title="New conversation" onClick={() => onOpen(null)}>
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
          value={conversations.query}
          onInput={(event) => conversations.search(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape" && (conversations.query || !event.currentTarget.closest(".drawer-open"))) {
              // The first Escape empties the field, the second one leaves it. Neither stops a reply.
              event.stopPropagation();
              if (conversations.query) conversations.search("");
              else document.querySelector<HTMLElement>("textarea")?.focus();
            } else if (event.key === "Enter" && conversations.items[0]) {
              onOpen(conversations.items[0].id, matchOf(conversations.items[0], conversations.query));
            } else if (event.key === "ArrowDown" && conversations.items[0]) {
              event.preventDefault();
              links()[0]?.focus();
            }
          }}
        />
        <kbd aria-hidden="true">Ctrl K</kbd>
      </label>
      <div class="list" ref={list} onKeyDown={onArrowKey}>
        {[...groups].map(([name, items]) => (
          <section key={name}>
            <h2>{name}</h2>
            <ul>
              {items.map((each) => (
                <ConversationItem key={each.id} item={each} isTabStop={each.id === tabStopId} onFocus={() => setFocusedId(each.id)} onOpen={onOpen} />
              ))}
            </ul>
          </section>
        ))}
        {conversations.loaded && conversations.items.length === 0 && (
          <p class="list-note">{conversations.query.trim() ? "No conversation matches." : "Your conversations appear here."}</p>
        )}
        {conversations.error && <p class="list-note">{conversations.error}</p>}
        {conversations.next && !conversations.query.trim() && (
          <button type="button" class="secondary-button load-more" onClick={() => void conversations.loadMore()}>
            Show earlier conversations
          </button>
        )}
      </div>
      <div class="sidebar-footer">
        <ThemeSwitch />
        <button type="button" class="icon-button" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick={onShortcuts}>
          <Icon name="keyboard" />
        </button>
        <span class="version">{client.info?.server}</span>
      </div>
    </nav>
  );
}

interface ConversationItemProps {
  item: ConversationSummary;
  /** Whether the Tab key stops here. */
  isTabStop: boolean;
  onFocus: () => void;
  onOpen: (id: string, match: SearchMatch | null) => void;
}

/** The message that a search has found in a conversation. */
function matchOf(item: ConversationSummary, query: string): SearchMatch | null {
  return item.message && query.trim() ? { conversation: item.id, message: item.message, query: query.trim() } : null;
}

function ConversationItem({ item, isTabStop, onFocus, onOpen }: ConversationItemProps) {
  const client = useClient();
  const [mode, setMode] = useState<"view" | "rename" | "delete">("view");
  const titleInput = useRef<HTMLInputElement>(null);
  const confirmButton = useRef<HTMLButtonElement>(null);
  const current = client.session.conversation?.id === item.id;
  const title = (current && client.session.conversation?.view?.title) || item.title || "New conversation";

  useEffect(() => {
    if (mode === "rename") titleInput.current?.select();
    if (mode === "delete") confirmButton.current?.focus();
  }, [mode]);

  const tabIndex = isTabStop ? 0 : -1;
  if (mode === "rename") {
    const finish = (save: boolean) => {
      const next = titleInput.current?.value.trim();
      setMode("view");
      if (save && next && next !== item.title) void client.conversations.rename(item.id, next);
    };
    return (
      <li class="item">
        <input
          ref={titleInput}
          class="title-input"
          aria-label="Title"
          dir="auto"
          defaultValue={item.title}
          maxLength={200}
          onBlur={() => finish(true)}
          onKeyDown={(event) => {
            if (event.key === "Enter") finish(true);
            if (event.key === "Escape") {
              event.stopPropagation();
              finish(false);
            }
          }}
        />
      </li>
    );
  }
  if (mode === "delete") {
    return (
      <li
        class="item confirm-delete"
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          event.stopPropagation();
          setMode("view");
        }}
      >
        <span>Delete it?</span>
        <button ref={confirmButton} type="button" class="link-button danger" onClick={() => void client.deleteConversation(item.id)}>
          Delete
        </button>
        <button type="button" class="link-button" onClick={() => setMode("view")}>
          Cancel
        </button>
      </li>
    );
  }
  return (
    <li class={current ? "item current" : "item"} onFocusIn={onFocus}>
      <a
        tabIndex={tabIndex}
        href={pathOfConversation(item.id)}
        aria-current={current ? "page" : undefined}
        onClick={(event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          onOpen(item.id, matchOf(item, client.conversations.query));
        }}
      >
        <span class="title" dir="auto">{title}</span>
        {item.snippet && <span class="snippet" dir="auto">{item.snippet}</span>}
      </a>
      {item.running && !current ? (
        <span class="dot running" role="img" aria-label="A reply is running" />
      ) : (
        !current && client.conversations.isUnread(item) && <span class="dot" role="img" aria-label="Unread" />
      )}
      {item.standing === "owner" && <span class="item-actions">
        <button type="button" class="icon-button" tabIndex={tabIndex} aria-label={`Rename ${title}`} title="Rename" onClick={() => setMode("rename")}>
          <Icon name="pencil" />
        </button>
        <button type="button" class="icon-button" tabIndex={tabIndex} aria-label={`Delete ${title}`} title="Delete" onClick={() => setMode("delete")}>
          <Icon name="trash" />
        </button>
      </span>}
    </li>
  );
}
