import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Client } from "../client/client";
import type { MessageNode } from "../state/messageTree";
import { MessageAttachments } from "./Attachments";
import { CollapsibleText } from "./CollapsibleText";
import { CopyButton } from "./CopyButton";
import { replyStats } from "./format";
import { useAutoHeight } from "./hooks";
import { Icon } from "./icons";
import { ReplyBody } from "./ReplyBody";

/** Buttons that show another version of a message. */
function BranchSwitcher({ client, node }: { client: Client; node: MessageNode }) {
  const { message, siblings } = node;
  if (siblings.length < 2 || client.session.conversation?.canWrite === false) return null;
  const index = siblings.findIndex((each) => each.id === message.id);
  const move = (step: number) => {
    const other = siblings[index + step];
    if (other) client.showBranch(other.id);
  };
  return (
    <span class="branch-switcher">
      <button type="button" class="icon-button" aria-label="Earlier version" disabled={index === 0} onClick={() => move(-1)}>
        <Icon name="left" />
      </button>
      <span class="branch-count">
        {index + 1} of {siblings.length}
      </span>
      <button type="button" class="icon-button" aria-label="Later version" disabled={index === siblings.length - 1} onClick={() => move(1)}>
        <Icon name="right" />
      </button>
    </span>
  );
}

const EDITOR_LINES = 8;

interface UserProps {
  client: Client;
  node: MessageNode;
  last: boolean;
  editing: boolean;
  onEdit: (message: string | null) => void;
}

export function UserMessage({ client, node, last, editing, onEdit }: UserProps) {
  const { message } = node;
  const text = message.text ?? "";
  if (editing) {
    const send = (edited: string) => {
      onEdit(null);
      if (edited !== text) client.edit(message.id, edited);
    };
    return <MessageEditor text={text} onCancel={() => onEdit(null)} onSend={send} />;
  }
  const { conversation, user } = client.session;
  const canWrite = conversation?.canWrite ?? true;
  const author = message.author && message.author !== user ? (conversation?.displayName(message.author) ?? message.author) : null;
  return (
    <article data-message={message.id} class={last ? "message user last" : "message user"}>
      <h2 class={author ? "author" : "sr-only"}>{author ?? "You"}</h2>
      <CollapsibleText
        text={text}
        footer={
          <>
            <span class="message-actions">
              {canWrite && (
                <button type="button" class="icon-button" aria-label="Edit" title="Edit" disabled={client.session.busy} onClick={() => onEdit(message.id)}>
                  <Icon name="pencil" />
                </button>
              )}
              <CopyButton text={text} />
            </span>
            <BranchSwitcher client={client} node={node} />
          </>
        }
      >
        <MessageAttachments message={message} />
      </CollapsibleText>
    </article>
  );
}

function MessageEditor({ text, onCancel, onSend }: { text: string; onCancel: () => void; onSend: (text: string) => void }) {
  const input = useRef<HTMLTextAreaElement>(null);
  const [draft, setDraft] = useState(text);
  useAutoHeight(input, draft, EDITOR_LINES);
  useLayoutEffect(() => {
    const field = input.current!;
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }, []);
  const send = () => {
    if (draft.trim()) onSend(draft.trim());
  };
  return (
    <div class="message user editing">
      <textarea
        ref={input}
        aria-label="Edit your message"
        dir="auto"
        rows={2}
        value={draft}
        onInput={(event) => setDraft(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            onCancel();
          } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            send();
          }
        }}
      />
      <div class="message-footer show-actions">
        <button type="button" class="primary-button" onClick={send} disabled={!draft.trim()}>
          Send
        </button>
        <button type="button" class="secondary-button" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </div>
  );
}

interface ReplyProps {
  client: Client;
  node: MessageNode;
  last: boolean;
  assistantLabel: string;
}

export function ReplyMessage({ client, node, last, assistantLabel }: ReplyProps) {
  const { message } = node;
  const { session } = client;
  const reply = session.conversation?.replies.get(message.id);
  const running = message.status === "streaming";
  const canWrite = session.conversation?.canWrite ?? true;
  return (
    <article data-message={message.id} class={last ? "message reply last" : "message reply"} aria-busy={running && !reply?.snapshot.end}>
      <h2 class="sr-only">{message.model ?? assistantLabel}</h2>
      <ReplyBody
        client={client}
        message={message}
        reply={(running && reply) || null}
        stopping={session.stopping}
        disconnected={session.phase !== "live"}
        onRetry={last && canWrite && !session.busy ? () => client.regenerate(message.id) : null}
        onContinue={last && canWrite && !session.busy ? () => client.send("Continue.") : null}
      />
      <div class="message-footer">
        {running && session.phase !== "live" && (
          <span class="cut-note">The connection was cut here. {session.stopping ? "The reply is stopped" : "The reply goes on"} when it is back.</span>
        )}
        {!running && (
          <>
            <span class="reply-stats">{replyStats(message).join(" · ")}</span>
            <span class="message-actions">
              <CopyButton text={message.text ?? ""} />
              {canWrite && (
                <button type="button" class="icon-button" aria-label="Another reply" title="Another reply" disabled={session.busy} onClick={() => client.regenerate(message.id)}>
                  <Icon name="retry" />
                </button>
              )}
            </span>
            <BranchSwitcher client={client} node={node} />
          </>
        )}
      </div>
    </article>
  );
}
