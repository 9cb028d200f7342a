// The list of conversations in the sidebar, loaded page by page and filtered by a search.

import * as rest from "./rest";

const DEBOUNCE_MS = 250;

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

  constructor(token: () => string | null, onChange: () => void) {
    this.token = token;
    this.onChange = onChange;
  }

  search(query: string): void {
    this.query = query;
    this.scheduleLoad();
    this.onChange();
  }

  /** Load the list soon. Calls within 250 ms cause one request. */
  scheduleLoad(): void {
    if (!this.timer) {
      this.timer = window.setTimeout(() => {
        this.timer = 0;
        void this.load();
      }, DEBOUNCE_MS);
    }
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
      const all = before ? [...this.items, ...page.conversations] : page.conversations;
      this.items = all.filter((each, index) => all.findIndex((other) => other.id === each.id) === index);
      this.next = page.next ?? null;
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
