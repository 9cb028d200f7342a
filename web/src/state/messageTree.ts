// The messages of a conversation are a tree. The page shows one branch of it: the path from the root to the head.

import type { MessageView } from "../protocol";

export interface MessageNode {
  message: MessageView;
  /** The messages of the same role and parent, oldest first; `message` is one of them. */
  siblings: MessageView[];
}

function childrenByParent(messages: Iterable<MessageView>): Map<string, MessageView[]> {
  const children = new Map<string, MessageView[]>();
  for (const message of messages) {
    const key = message.parent ?? "";
    const group = children.get(key);
    if (group) group.push(message);
    else children.set(key, [message]);
  }
  return children;
}

/** The branch that ends in `head`, from the first message on. If `head` is unknown: the branch of the newest message. */
export function branchTo(messages: ReadonlyMap<string, MessageView>, head: string | null | undefined): MessageNode[] {
  const children = childrenByParent(messages.values());
  let message = head ? messages.get(head) : undefined;
  if (!message) message = [...messages.values()].at(-1);
  const path: MessageNode[] = [];
  const visited = new Set<string>();
  while (message && !visited.has(message.id)) {
    const { id, role, parent }: MessageView = message;
    visited.add(id);
    const siblings = (children.get(parent ?? "") ?? [message]).filter((each) => each.role === role);
    path.push({ message, siblings });
    message = parent ? messages.get(parent) : undefined;
  }
  return path.reverse();
}

/** The last message of the newest branch through `message`: the head to show if a user selects `message`. */
export function newestLeaf(messages: ReadonlyMap<string, MessageView>, message: string): string {
  const children = childrenByParent(messages.values());
  const visited = new Set<string>();
  let leaf = message;
  while (!visited.has(leaf)) {
    visited.add(leaf);
    const next = children.get(leaf)?.at(-1);
    if (!next) break;
    leaf = next.id;
  }
  return leaf;
}
