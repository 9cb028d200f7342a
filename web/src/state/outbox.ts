// What a person did and the server has not stored yet.

import type { ClientMessage, Edit, Regenerate, Send } from "../protocol";

export type Pending = (Send | Edit | Regenerate) & { client_message_id: string; id: string };

/** Something a person did that is not stored yet. It is told again after a cut; its `client_message_id` makes that safe. */
export interface Outgoing {
  command: Pending;
  /** Where it belongs; null until a new conversation has its id. */
  conversation: string | null;
  /** The message that it will stand behind. */
  parent: string | null;
  told: boolean;
  refusal: { message: string; code: string } | null;
}

export class Outbox {
  items: Outgoing[] = [];

  /** What belongs to a conversation, or with null to one that has no id yet. */
  of(conversation: string | null): Outgoing | null {
    return this.items.find((each) => each.conversation === conversation) ?? null;
  }

  /** Put one in, in place of another. */
  put(item: Outgoing, before: Outgoing | null): void {
    this.items = [...this.items.filter((each) => each !== before), item];
  }

  drop(item: Outgoing | null): void {
    this.items = this.items.filter((each) => each !== item);
  }

  /** The one that an answer is about. */
  asked(re: string | null | undefined): Outgoing | null {
    return this.items.find((each) => each.command.id === re) ?? null;
  }

  /** There is a new connection, which was told nothing. */
  untold(): void {
    for (const each of this.items) each.told = false;
  }

  /** What is to be told now. What cannot fit into `frame` bytes is refused here. */
  due(frame: number): Pending[] {
    const out: Pending[] = [];
    for (const each of this.items) {
      if (each.refusal || each.told) continue;
      if (size(each.command) > frame) {
        // The server would end the connection over it, and again each time it is told.
        const most = Math.floor(frame / 1024);
        each.refusal = { code: "too_large", message: `This is too long: a message can have about ${most} KiB here. Shorten it.` };
        continue;
      }
      each.told = true;
      out.push(each.command);
    }
    return out;
  }
}

function size(message: ClientMessage): number {
  return new TextEncoder().encode(JSON.stringify(message)).length;
}
