// What the address bar can hold: a conversation in the path, an invitation or a token in the fragment.

export function conversationIdFromPath(path: string): string | null {
  const match = /^\/c\/([^/]+)$/.exec(path);
  try {
    return match ? decodeURIComponent(match[1]!) : null;
  } catch {
    return null;
  }
}

export function pathOfConversation(id: string | null): string {
  return id ? `/c/${encodeURIComponent(id)}` : "/";
}

export function invitationFromHash(hash: string): string | null {
  return /^#\/join\/([\w-]+)$/.exec(hash)?.[1] ?? null;
}

export function tokenFromHash(hash: string): string | null {
  return new URLSearchParams(hash.slice(1)).get("token");
}
