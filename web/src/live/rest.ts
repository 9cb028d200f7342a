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
  /** The most that an attachment may have; a server of before does not say. */
  upload_bytes?: number;
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

export interface CommandHelp {
  name: string;
  usage: string;
  help: string;
}

export interface Attachment {
  id: string;
  type: "image" | "audio";
  media_type: string;
  size: number;
  name?: string | null;
}

export interface Invitation {
  secret: string;
  expires_at: string;
}

async function request<T>(method: string, path: string, token: string | null, body?: unknown): Promise<T> {
  const said = body === undefined ? null : JSON.stringify(body);
  const response = await fetched(method, path, token, said, said === null ? {} : { "content-type": "application/json" });
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

async function fetched(
  method: string,
  path: string,
  token: string | null,
  body: string | Blob | null = null,
  headers: Record<string, string> = {},
): Promise<Response> {
  if (token) headers.authorization = `Bearer ${token}`;
  let response: Response;
  try {
    response = await fetch(path, { method, headers, body });
  } catch {
    throw new RestError(0, "The server cannot be reached.");
  }
  if (!response.ok) throw new RestError(response.status, await sentence(response));
  return response;
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

export async function commands(token: string | null): Promise<CommandHelp[]> {
  return (await request<{ commands: CommandHelp[] }>("GET", "/api/commands", token)).commands;
}

export async function attach(token: string | null, file: File): Promise<Attachment> {
  const query = new URLSearchParams({ name: file.name });
  const headers = { "content-type": file.type || "application/octet-stream" };
  const response = await fetched("POST", `/api/attachments?${query}`, token, file, headers);
  return (await response.json()) as Attachment;
}

export async function attached(token: string | null, attachment: string): Promise<Blob> {
  return file(token, `/api/attachments/${encodeURIComponent(attachment)}`);
}

/** A file of the server's own, to be saved. */
export async function file(token: string | null, path: string): Promise<Blob> {
  return (await fetched("GET", path, token)).blob();
}

export function invite(token: string | null, conversation: string, standing: string): Promise<Invitation> {
  return request("POST", `/api/conversations/${encodeURIComponent(conversation)}/invitations`, token, { standing });
}

export function join(token: string | null, secret: string): Promise<ConversationView> {
  return request("POST", `/api/invitations/${encodeURIComponent(secret)}`, token);
}

export function dismiss(token: string | null, conversation: string, user: string): Promise<unknown> {
  const path = `/api/conversations/${encodeURIComponent(conversation)}/participants/${encodeURIComponent(user)}`;
  return request("DELETE", path, token);
}
