// What the address bar can hold: a conversation in the path, an invitation or a token in the fragment.

/** The path below which a proxy publishes the server, such as `/chat`, or an empty string. The server writes it into the page. */
export const PREFIX = globalThis.document?.querySelector<HTMLMetaElement>("meta[name=legato-prefix]")?.content ?? "";

export function conversationIdFromPath(path: string, prefix = PREFIX): string | null {
  const match = /^\/c\/([^/]+)$/.exec(path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path);
  try {
    return match ? decodeURIComponent(match[1]!) : null;
  } catch {
    return null;
  }
}

export function pathOfConversation(id: string | null, prefix = PREFIX): string {
  return id ? `${prefix}/c/${encodeURIComponent(id)}` : `${prefix}/`;
}

export function invitationFromHash(hash: string): string | null {
  return /^#\/join\/([\w-]+)$/.exec(hash)?.[1] ?? null;
}

export function tokenFromHash(hash: string): string | null {
  return new URLSearchParams(hash.slice(1)).get("token");
}
