// The commands that the server has not acknowledged yet.

import type { ClientMessage, Edit, Regenerate, Send } from "../protocol";

export type OutboxCommand = (Send | Edit | Regenerate) & { client_message_id: string; id: string };

/** A command that is not stored yet. It is sent again on each new connection; its `client_message_id` makes that safe. */
export interface OutboxItem {
  command: OutboxCommand;
  /** The id of its conversation, or null until a new conversation has an id. */
  conversation: string | null;
  /** The id of the message that it follows. */
  parent: string | null;
  /** Whether it was sent on the present connection. */
  sent: boolean;
  error: { message: string; code: string } | null;
}

export class Outbox {
  items: OutboxItem[] = [];

  /** The item of a conversation. With null: the item of the conversation that has no id yet. */
  forConversation(conversation: string | null): OutboxItem | null {
    return this.items.find((each) => each.conversation === conversation) ?? null;
  }

  /** Add an item and remove the one that it replaces. */
  add(item: OutboxItem, replaced: OutboxItem | null): void {
    this.items = [...this.items.filter((each) => each !== replaced), item];
  }

  remove(item: OutboxItem | null): void {
    this.items = this.items.filter((each) => each !== item);
  }

  /** The item that a server message answers, by the message's `re`. */
  byCommandId(re: string | null | undefined): OutboxItem | null {
    return this.items.find((each) => each.command.id === re) ?? null;
  }

  /** Mark every item as unsent: there is a new connection. */
  markAllUnsent(): void {
    for (const each of this.items) each.sent = false;
  }

  /** Mark the unsent items as sent and return their commands. A command longer than `maxFrameBytes` gets an error instead. */
  takeUnsent(maxFrameBytes: number): OutboxCommand[] {
    const out: OutboxCommand[] = [];
    for (const each of this.items) {
      if (each.error || each.sent) continue;
      if (byteLength(each.command) > maxFrameBytes) {
        // The server would close the socket, and again after each reconnect.
        const most = Math.floor(maxFrameBytes / 1024);
        each.error = { code: "too_large", message: `This is too long: a message can have about ${most} KiB here. Shorten it.` };
        continue;
      }
      each.sent = true;
      out.push(each.command);
    }
    return out;
  }
}

function byteLength(message: ClientMessage): number {
  return new TextEncoder().encode(JSON.stringify(message)).length;
}
