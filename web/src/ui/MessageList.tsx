import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { copyToClipboard } from "./clipboard";
import { CollapsibleText } from "./CollapsibleText";
import { CommandResult } from "./CommandResult";
import { useClient } from "./hooks";
import { ReplyMessage, UserMessage } from "./Message";
import { WaitingIndicator } from "./ReplyBody";

interface Props {
  editing: string | null;
  onEdit: (message: string | null) => void;
  assistantLabel: string;
  onScrolledUp: (scrolledUp: boolean) => void;
  onEditPending: () => void;
  /** The list scrolls to its end each time this changes. */
  jumpCount: number;
  /** The message that a search has found, or null. */
  match: SearchMatch | null;
}

export interface SearchMatch {
  conversation: string;
  message: string;
  query: string;
}

/** Within this distance of the end, the list follows the growing text. */
const NEAR_END_PX = 24;

export function MessageList({ editing, onEdit, assistantLabel, onScrolledUp, onEditPending, jumpCount, match }: Props) {
  const client = useClient();
  const { session } = client;
  const { nodes, pending } = session.visibleMessages();
  const scroll = useRef<HTMLDivElement>(null);
  const column = useRef<HTMLDivElement>(null);
  const followsEnd = useRef(true);
  const [ready, setReady] = useState(false);
  const conversationId = session.conversation?.id ?? null;

  const setFollowsEnd = (value: boolean) => {
    if (followsEnd.current === value) return;
    followsEnd.current = value;
    onScrolledUp(!value);
  };
  const scrollToEnd = () => {
    const box = scroll.current;
    if (box) box.scrollTop = box.scrollHeight;
  };

  useLayoutEffect(() => {
    setFollowsEnd(true);
    scrollToEnd();
  }, [conversationId, jumpCount]);

  const shownMatch = useRef<SearchMatch | null>(null);
  const branchMatch = useRef<SearchMatch | null>(null);
  useEffect(() => {
    if (!match || match.conversation !== conversationId || shownMatch.current === match || nodes.length === 0) return;
    const article = column.current!.querySelector(`[data-message="${CSS.escape(match.message)}"]`);
    if (!article) {
      // The match is in another branch. Show that branch once; the article appears with a later update.
      if (branchMatch.current === match || !session.conversation?.messages.has(match.message)) return;
      branchMatch.current = match;
      if (session.conversation.canWrite) client.showBranch(match.message);
      else client.setNotice("The match is in another version of this conversation, which is not shown now.");
      return;
    }
    shownMatch.current = match;
    setFollowsEnd(false);
    return showMatch(article, match.query);
  });

  useEffect(() => {
    const box = scroll.current!;
    const observer = new ResizeObserver(() => {
      if (followsEnd.current) scrollToEnd();
    });
    observer.observe(column.current!);
    observer.observe(box);
    setReady(true);
    const distanceToEnd = () => box.scrollHeight - box.clientHeight - box.scrollTop;
    // Growing text increases the distance to the end, too. Only a scroll position that decreases is a scroll by the user.
    let top = box.scrollTop;
    let height = box.scrollHeight;
    const onScroll = () => {
      if (distanceToEnd() <= NEAR_END_PX) setFollowsEnd(true);
      else if (box.scrollHeight === height && box.scrollTop < top - 1) setFollowsEnd(false);
      top = box.scrollTop;
      height = box.scrollHeight;
    };
    // Stop following at once if the user scrolls up, even by less than NEAR_END_PX.
    const onWheel = (event: WheelEvent) => {
      if (event.deltaY < 0 && box.scrollHeight > box.clientHeight) setFollowsEnd(false);
    };
    let touchStart = 0;
    const onTouchStart = (event: TouchEvent) => (touchStart = event.touches[0]?.clientY ?? 0);
    const onTouchMove = (event: TouchEvent) => {
      if ((event.touches[0]?.clientY ?? 0) > touchStart + 4 && box.scrollHeight > box.clientHeight) setFollowsEnd(false);
    };
    const onKey = (event: KeyboardEvent) => {
      if (["PageUp", "Home", "ArrowUp"].includes(event.key) && box.scrollHeight > box.clientHeight) setFollowsEnd(false);
    };
    box.addEventListener("scroll", onScroll, { passive: true });
    box.addEventListener("wheel", onWheel, { passive: true });
    box.addEventListener("touchstart", onTouchStart, { passive: true });
    box.addEventListener("touchmove", onTouchMove, { passive: true });
    box.addEventListener("keydown", onKey);
    return () => {
      observer.disconnect();
      box.removeEventListener("scroll", onScroll);
      box.removeEventListener("wheel", onWheel);
      box.removeEventListener("touchstart", onTouchStart);
      box.removeEventListener("touchmove", onTouchMove);
      box.removeEventListener("keydown", onKey);
    };
  }, []);

  const copyCode = (event: MouseEvent) => {
    const button = (event.target as Element).closest<HTMLButtonElement>(".code-copy");
    const code = button?.closest(".code")?.querySelector("code");
    if (!button || !code) return;
    void copyToClipboard((code.textContent ?? "").replace(/\n$/, "")).then((copied) => {
      if (!copied) return;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  };

  const command = pending?.command;
  const pendingText = command && command.type !== "regenerate" ? command.text : null;
  const isWaiting = pending && !pending.error;
  return (
    <div class="scroll" ref={scroll} role="region" aria-label="Messages" tabindex={0} data-ready={ready} onClick={copyCode}>
      <div class="column" ref={column}>
        {nodes.map((node, index) => {
          const last = index >= nodes.length - 2 && !pending;
          const divider = node.message.id === session.conversation?.view?.cleared && (
            <p key="cleared" class="cleared" role="separator">
              The model reads nothing above this line
            </p>
          );
          const shown = node.message.role === "user" ? (
            <UserMessage key={node.message.id} client={client} node={node} last={false} editing={editing === node.message.id} onEdit={onEdit} />
          ) : node.message.role === "assistant" ? (
            <ReplyMessage key={node.message.id} client={client} node={node} last={last} assistantLabel={assistantLabel} />
          ) : null;
          return divider ? [shown, divider] : shown;
        })}
        {session.commandResult && <CommandResult result={session.commandResult} />}
        {pendingText != null && (
          <article class="message user pending">
            <h2 class="sr-only">You</h2>
            <CollapsibleText text={pendingText} />
          </article>
        )}
        {isWaiting && (
          <div class="message reply">
            <WaitingIndicator text={session.phase === "live" ? "Sending" : "Saved here, is sent when the connection is back"} />
            <div class="message-footer" />
          </div>
        )}
        {pending?.error && (
          <div class="message reply">
            <p class="error">
              {pending.error.message}{" "}
              <button type="button" class="link-button" onClick={() => client.resend()}>
                Send again
              </button>{" "}
              <button type="button" class="link-button" onClick={onEditPending}>
                Take it back
              </button>
            </p>
          </div>
        )}
      </div>
    </div>
  );
}

/**
 * Scroll to a message and highlight the words of a query in it. Messages above it may still be rendered: it is kept in view
 * for a moment. Returns a function that ends that.
 */
function showMatch(article: Element, query: string): () => void {
  const highlight = () => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const ranges: Range[] = [];
    const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode.nodeValue!.toLowerCase();
      for (const word of words) {
        for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
          const range = new Range();
          range.setStart(texts.currentNode, at);
          range.setEnd(texts.currentNode, Math.min(at + word.length, texts.currentNode.nodeValue!.length));
          ranges.push(range);
        }
      }
    }
    CSS.highlights?.set("search", new Highlight(...ranges));
    const target = ranges[0]?.startContainer.parentElement ?? article;
    target.scrollIntoView({ block: "center" });
  };
  highlight();
  const observer = new ResizeObserver(highlight);
  observer.observe(article.parentElement!);
  const timer = setTimeout(() => observer.disconnect(), 1500);
  return () => {
    clearTimeout(timer);
    observer.disconnect();
  };
}
