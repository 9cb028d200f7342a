// The requests beside the socket.

import type { ConversationView } from "../protocol";

export interface Listed extends ConversationView {
  snippet?: string;
}

export interface Page {
  conversations: Listed[];
  next?: string | null;
}

export interface Info {
  server: string;
  auth: boolean;
  assistants: { name: string; engine: string; model?: string | null; disclaimer?: string | null }[];
  engine: { name: string; model?: string | null; why?: string | null };
}

export class RestError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

async function request<T>(method: string, path: string, token: string | null, body?: unknown): Promise<T> {
  const headers: Record<string, string> = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
  } catch {
    throw new RestError(0, "The server cannot be reached.");
  }
  if (!response.ok) throw new RestError(response.status, await sentence(response));
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

async function sentence(response: Response): Promise<string> {
  try {
    const said = (await response.json()) as { error?: { message?: string } | string; message?: string; detail?: unknown };
    const message = typeof said.error === "object" ? said.error.message : (said.message ?? said.error ?? said.detail);
    if (typeof message === "string" && message) return message;
  } catch {
    // Not JSON: then the status has to do.
  }
  return `The server answered with ${response.status}.`;
}

export function info(token: string | null): Promise<Info> {
  return request("GET", "/api/info", token);
}

export function conversations(token: string | null, options: { q?: string; before?: string }): Promise<Page> {
  const query = new URLSearchParams({ limit: "50" });
  if (options.q) query.set("q", options.q);
  if (options.before) query.set("before", options.before);
  return request("GET", `/api/conversations?${query}`, token);
}

export function rename(token: string | null, conversation: string, title: string): Promise<unknown> {
  return request("PATCH", `/api/conversations/${encodeURIComponent(conversation)}`, token, { title });
}

export function remove(token: string | null, conversation: string): Promise<unknown> {
  return request("DELETE", `/api/conversations/${encodeURIComponent(conversation)}`, token);
}
