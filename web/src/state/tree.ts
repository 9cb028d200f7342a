// The messages of a conversation are a tree; what is shown is the branch that ends in its head.

import type { MessageView } from "../protocol";

export interface Place {
  message: MessageView;
  /** Those that stand in the same place, oldest first; `message` is one of them. */
  siblings: MessageView[];
}

function byParent(messages: Iterable<MessageView>): Map<string, MessageView[]> {
  const children = new Map<string, MessageView[]>();
  for (const message of messages) {
    const key = message.parent ?? "";
    const group = children.get(key);
    if (group) group.push(message);
    else children.set(key, [message]);
  }
  return children;
}

/** The branch that ends in `head`, first message first. Without a head that is known: the branch of the newest message. */
export function branch(messages: ReadonlyMap<string, MessageView>, head: string | null | undefined): Place[] {
  const children = byParent(messages.values());
  let at = head ? messages.get(head) : undefined;
  if (!at) at = [...messages.values()].at(-1);
  const path: Place[] = [];
  const seen = new Set<string>();
  while (at && !seen.has(at.id)) {
    seen.add(at.id);
    const siblings = (children.get(at.parent ?? "") ?? [at]).filter((each) => each.role === at!.role);
    path.push({ message: at, siblings });
    at = at.parent ? messages.get(at.parent) : undefined;
  }
  return path.reverse();
}

/** The end of the newest branch that goes through `message`: what to show when a person picks it. */
export function leaf(messages: ReadonlyMap<string, MessageView>, message: string): string {
  const children = byParent(messages.values());
  const seen = new Set<string>();
  let at = message;
  while (!seen.has(at)) {
    seen.add(at);
    const next = children.get(at)?.at(-1);
    if (!next) break;
    at = next.id;
  }
  return at;
}
