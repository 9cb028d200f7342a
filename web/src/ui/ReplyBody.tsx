import { Component } from "preact";
import type { Client } from "../client/client";
import type { MessageView } from "../protocol";
import type { RunningReply } from "../state/runningReply";
import { splitAtToolCalls, toolCallsOf } from "../state/toolCalls";
import { waitingText } from "./format";
import { Prose } from "./Prose";
import { Reasoning } from "./Reasoning";
import { ToolCalls } from "./ToolCalls";

/** Text without a letter or digit is not shown yet: it may be the beginning of any Markdown block. */
const HAS_LETTER = /[\p{L}\p{N}]/u;

const isWaitingFor = (text: string) => !HAS_LETTER.test(text);

interface Props {
  client: Client;
  message: MessageView;
  /** The running reply, or null if the message is complete. */
  reply: RunningReply | null;
  stopping: boolean;
  disconnected: boolean;
  /** Regenerate the reply, or null if that is not possible now. */
  onRetry: (() => void) | null;
  /** Let the model go on after its length limit, or null if that is not possible now. */
  onContinue: (() => void) | null;
}

/**
 * The content of a reply, running or complete. It subscribes to its stream, so that new text renders no other component.
 * The DOM elements are kept when the reply ends, so that a selection in the text is kept, too.
 */
export class ReplyBody extends Component<Props> {
  private unsubscribe: (() => void) | null = null;
  private timer = 0;

  override componentDidMount(): void {
    const { client, message } = this.props;
    this.unsubscribe = client.subscribeToReply(message.id, () => this.forceUpdate());
    this.timer = window.setInterval(() => {
      const { reply } = this.props;
      if (reply && !reply.snapshot.end && !reply.snapshot.text) this.forceUpdate();
    }, 1000);
  }

  override componentWillUnmount(): void {
    this.unsubscribe?.();
    clearInterval(this.timer);
  }

  render({ message, reply, stopping, disconnected, onRetry, onContinue }: Props) {
    const snapshot = reply?.snapshot;
    const running = snapshot ? !snapshot.end : message.status === "streaming";
    const text = snapshot ? snapshot.text : (message.text ?? "");
    const reasoning = snapshot ? snapshot.reasoning : (message.reasoning ?? "");
    const segments = splitAtToolCalls(text, snapshot ? snapshot.toolCalls : toolCallsOf(message));
    const last = segments.length - 1;
    const lastSegment = segments[last]!;
    const toolRunning = lastSegment.toolCalls.some((each) => each.output === undefined);
    const thinking = running && reasoning !== "" && text === "";
    // Something holds up a reply that has begun: its agent was lost, or another model is loaded.
    const held = running && !isWaitingFor(lastSegment.text) && snapshot?.state && snapshot.state.phase !== "answering" && !snapshot.writtenSinceState ? snapshot.state : null;
    const detail = held ? null : snapshot ? snapshot.state?.detail : message.status !== "interrupted" && message.detail;
    const failure = snapshot?.end?.type === "failed" ? snapshot.end.message : message.status === "interrupted" && (message.detail || "The reply broke off here.");
    const stoppedText = (this.props.client.session.conversation?.participants.length ?? 0) > 1 ? "It was stopped" : "You stopped it";
    const isWaiting = running && !thinking && !toolRunning && isWaitingFor(lastSegment.text);
    const atLimit = snapshot?.end?.type === "finished" ? snapshot.end.reason === "length" : (message.usage?.at_limit ?? false);
    const canWrite = this.props.client.session.conversation?.canWrite ?? true;
    const approve = (call: string, allow: boolean) => this.props.client.approve(message.id, call, allow);
    const waitedMs = reply ? performance.now() - reply.phaseStartedAt : 0;
    return (
      <>
        {detail && (
          <p key="detail" class="note">
            {detail}
          </p>
        )}
        {reasoning && <Reasoning key="reasoning" text={reasoning} live={thinking} />}
        {segments.map((each, index) => [
          each.toolCalls.length > 0 && <ToolCalls key={`tools ${index}`} toolCalls={each.toolCalls} live={running} onApprove={running && canWrite ? approve : null} />,
          each.text && !(isWaiting && index === last) && <Prose key={`prose ${index}`} text={each.text} live={running && index === last} />,
        ])}
        {isWaiting && <WaitingIndicator key="waiting" text={disconnected ? "Waiting for the connection" : stopping ? "Stopping" : waitingText(snapshot?.state ?? null, waitedMs)} />}
        {held && !disconnected && (
          <div key="held" class="progress-note">
            <WaitingIndicator text={held.detail ?? waitingText(held, waitedMs)} />
          </div>
        )}
        {!running && <ReplyOutcome key="outcome" message={message} failure={failure} atLimit={atLimit} onRetry={onRetry} onContinue={onContinue} stoppedText={stoppedText} />}
      </>
    );
  }
}

interface ReplyOutcomeProps {
  message: MessageView;
  failure: string | false | undefined;
  atLimit: boolean;
  onContinue: (() => void) | null;
  onRetry: (() => void) | null;
  stoppedText: string;
}

function ReplyOutcome({ message, failure, atLimit, onRetry, onContinue, stoppedText }: ReplyOutcomeProps) {
  if (failure) {
    return (
      <p class="error">
        {failure}
        {onRetry && (
          <button type="button" class="link-button" onClick={onRetry}>
            Try again
          </button>
        )}
      </p>
    );
  }
  if (message.status === "stopped") return <p class="note">{stoppedText} {message.text ? "here." : "before it began."}</p>;
  if (atLimit) {
    return (
      <p class="note">
        The reply reached its length limit here.
        {onContinue && (
          <button type="button" class="link-button" onClick={onContinue}>
            Continue
          </button>
        )}
      </p>
    );
  }
  if (message.status === "complete" && !message.text) return <p class="note">The reply is empty.</p>;
  return null;
}

export function WaitingIndicator({ text }: { text: string }) {
  return (
    <p class="waiting">
      {text}
      <span class="pulse" />
    </p>
  );
}
