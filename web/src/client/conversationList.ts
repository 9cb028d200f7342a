// The list of conversations in the sidebar, loaded page by page and filtered by a search.

import type { ConversationView } from "../protocol";
import * as rest from "./rest";
import { read, write } from "./storage";

const DEBOUNCE_MS = 250;
/** How often the list is loaded while a reply is running in one of its conversations. */
const RUNNING_INTERVAL_MS = 3_000;
const SEEN_KEY = "seen";
const MAX_SEEN = 500;

function readSeen(): Record<string, number> {
  try {
    return JSON.parse(read("local", SEEN_KEY) ?? "{}") as Record<string, number>;
  } catch {
    return {};
  }
}

export class ConversationList {
  items: rest.ConversationSummary[] = [];
  /** The cursor of the next page, or null after the last page. */
  next: string | null = null;
  query = "";
  /** Whether the list was loaded at least once. */
  loaded = false;
  error: string | null = null;

  private readonly token: () => string | null;
  private readonly onChange: () => void;
  private timer = 0;
  private delay = 0;
  private loadedQuery = "";
  /** The revision at which the user saw each conversation last. */
  private seen: Record<string, number> = readSeen();

  constructor(token: () => string | null, onChange: () => void) {
    this.token = token;
    this.onChange = onChange;
  }

  search(query: string): void {
    this.query = query;
    this.scheduleLoad();
    this.onChange();
  }

  /** Load the list after a delay. Calls within that time cause one request. */
  scheduleLoad(delay = DEBOUNCE_MS): void {
    if (this.timer && delay >= this.delay) return;
    clearTimeout(this.timer);
    this.delay = delay;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      void this.load();
    }, delay);
  }

  /** Note that the user sees a conversation as it is now. */
  markSeen({ id, revision }: ConversationView): void {
    if ((this.seen[id] ?? -1) >= revision) return;
    this.seen[id] = revision;
    write("local", SEEN_KEY, JSON.stringify(Object.fromEntries(Object.entries(this.seen).slice(-MAX_SEEN))));
  }

  /** Whether something was written in a conversation since the user saw it. */
  isUnread({ id, revision }: ConversationView): boolean {
    return revision > (this.seen[id] ?? revision);
  }

  async loadMore(): Promise<void> {
    if (!this.next) return;
    await this.load(this.next);
  }

  async rename(id: string, title: string): Promise<void> {
    await this.change(() => rest.renameConversation(this.token(), id, title));
  }

  /** Returns whether the conversation was deleted. */
  delete(id: string): Promise<boolean> {
    return this.change(() => rest.deleteConversation(this.token(), id));
  }

  private async load(before?: string): Promise<void> {
    const query = this.query.trim();
    try {
      const page = await rest.listConversations(this.token(), { q: query, ...(before ? { before } : {}) });
      if (query !== this.query.trim()) return;
      // A search returns each matching message. Show each conversation once.
      // If earlier conversations were loaded, they stay behind the first page.
      const last = page.conversations.at(-1)?.updated_at ?? "";
      const earlier = !before && !query && this.loadedQuery === query && page.next ? this.items.filter((each) => each.updated_at < last) : [];
      const all = before ? [...this.items, ...page.conversations] : [...page.conversations, ...earlier];
      this.items = all.filter((each, index) => all.findIndex((other) => other.id === each.id) === index);
      if (earlier.length === 0) this.next = page.next ?? null;
      this.loadedQuery = query;
      // What was there before this browser knew of it counts as seen.
      for (const each of this.items) this.seen[each.id] ??= each.revision;
      if (this.items.some((each) => each.running)) this.scheduleLoad(RUNNING_INTERVAL_MS);
      this.loaded = true;
      this.error = null;
    } catch (error) {
      this.error = error instanceof Error ? error.message : "The conversations could not be read.";
    }
    this.onChange();
  }

  private async change(action: () => Promise<unknown>): Promise<boolean> {
    try {
      await action();
      await this.load();
      return true;
    } catch (error) {
      this.error = error instanceof Error ? error.message : "That did not work.";
      this.onChange();
      return false;
    }
  }
}
