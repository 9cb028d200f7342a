// The REST API of the server.

import type { ConversationView, PersonView } from "../protocol";
import { PREFIX } from "./address";

export interface ConversationSummary extends ConversationView {
  snippet?: string;
  /** The message that a search has found. */
  message?: string;
  /** Whether a reply is running in it. */
  running?: boolean;
}

export interface Readiness {
  engines: Record<string, { ok: boolean }>;
}

export interface ConversationPage {
  conversations: ConversationSummary[];
  next?: string | null;
}

export interface ServerInfo {
  server: string;
  auth: boolean;
  /** The size limit of an attachment. Older servers do not send it. */
  upload_bytes?: number;
  assistants: { name: string; engine: string; model?: string | null; disclaimer?: string | null; backup?: string | null }[];
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
  type: "image" | "audio" | "file";
  media_type: string;
  size: number;
  name?: string | null;
}

export interface Invitation {
  secret: string;
  expires_at: string;
}

async function requestJson<T>(method: string, path: string, token: string | null, body?: unknown): Promise<T> {
  const json = body === undefined ? null : JSON.stringify(body);
  const response = await request(method, path, token, json, json === null ? {} : { "content-type": "application/json" });
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

async function request(
  method: string,
  path: string,
  token: string | null,
  body: string | Blob | null = null,
  headers: Record<string, string> = {},
): Promise<Response> {
  if (token) headers.authorization = `Bearer ${token}`;
  let response: Response;
  try {
    response = await fetch(PREFIX + path, { method, headers, body });
  } catch {
    throw new RestError(0, "The server cannot be reached.");
  }
  if (!response.ok) throw new RestError(response.status, await errorMessage(response));
  return response;
}

async function errorMessage(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error?: { message?: string } | string; message?: string; detail?: unknown };
    const message = typeof body.error === "object" ? body.error.message : (body.message ?? body.error ?? body.detail);
    if (typeof message === "string" && message) return message;
  } catch {
    // The body is not JSON: report only the status.
  }
  return `The server answered with ${response.status}.`;
}

export function getServerInfo(token: string | null): Promise<ServerInfo> {
  return requestJson("GET", "/api/info", token);
}

/** Whether the engines can answer. The status is 503 if the server accepts no messages. */
export async function getReadiness(): Promise<Readiness> {
  const response = await fetch(`${PREFIX}/ready`);
  return (await response.json()) as Readiness;
}

export function createConversation(token: string | null, assistant: string | null): Promise<ConversationView> {
  return requestJson("POST", "/api/conversations", token, assistant ? { assistant } : {});
}

export function listConversations(token: string | null, options: { q?: string; before?: string }): Promise<ConversationPage> {
  const query = new URLSearchParams({ limit: "50" });
  if (options.q) query.set("q", options.q);
  if (options.before) query.set("before", options.before);
  return requestJson("GET", `/api/conversations?${query}`, token);
}

export function renameConversation(token: string | null, conversation: string, title: string): Promise<unknown> {
  return requestJson("PATCH", `/api/conversations/${encodeURIComponent(conversation)}`, token, { title });
}

export function deleteConversation(token: string | null, conversation: string): Promise<unknown> {
  return requestJson("DELETE", `/api/conversations/${encodeURIComponent(conversation)}`, token);
}

export async function listCommands(token: string | null): Promise<CommandHelp[]> {
  return (await requestJson<{ commands: CommandHelp[] }>("GET", "/api/commands", token)).commands;
}

/** The types that browsers give to text files. Files of source code often have none. */
const TEXT_TYPES = /^$|^text\/|[+/](?:json|xml|ya?ml|toml|javascript|typescript|sql|x-sh|x-yaml|x-python|x-httpd-php|octet-stream)$/;

export async function uploadAttachment(token: string | null, file: File): Promise<Attachment> {
  const query = new URLSearchParams({ name: file.name });
  const headers = { "content-type": TEXT_TYPES.test(file.type) ? "text/plain" : file.type };
  const response = await request("POST", `/api/attachments?${query}`, token, file, headers);
  return (await response.json()) as Attachment;
}

export async function getAttachment(token: string | null, attachment: string): Promise<Blob> {
  return getFile(token, `/api/attachments/${encodeURIComponent(attachment)}`);
}

/** Download a file of the server, such as an export. */
export async function getFile(token: string | null, path: string): Promise<Blob> {
  return (await request("GET", path, token)).blob();
}

export function createInvitation(token: string | null, conversation: string, role: string): Promise<Invitation> {
  return requestJson("POST", `/api/conversations/${encodeURIComponent(conversation)}/invitations`, token, { standing: role });
}

export interface InvitationPreview {
  title: string;
  owner: string;
  standing: PersonView["standing"];
  expires_at: string;
  /** The id of the conversation, if the user takes part already. */
  conversation?: string;
}

/** What the user would join with an invitation. It changes nothing. */
export function previewInvitation(token: string | null, secret: string): Promise<InvitationPreview> {
  return requestJson("GET", `/api/invitations/${encodeURIComponent(secret)}`, token);
}

export function acceptInvitation(token: string | null, secret: string): Promise<ConversationView> {
  return requestJson("POST", `/api/invitations/${encodeURIComponent(secret)}`, token);
}

export function removeParticipant(token: string | null, conversation: string, user: string): Promise<unknown> {
  const path = `/api/conversations/${encodeURIComponent(conversation)}/participants/${encodeURIComponent(user)}`;
  return requestJson("DELETE", path, token);
}
