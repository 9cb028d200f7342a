import { Component } from "preact";
import type { Client } from "../live/client";
import type { MessageView } from "../protocol";
import type { Reply as RunningReply } from "../state/reply";
import { segments, toolsOf } from "../state/tools";
import { Prose } from "./Prose";
import { Reasoning } from "./Reasoning";
import { Tools } from "./Tools";
import { waiting } from "./words";

/** Until there is a letter, there is only a mark that may become anything. */
const BEGUN = /[\p{L}\p{N}]/u;

interface Props {
  client: Client;
  message: MessageView;
  /** The stream that it is told by; null once the message says it all. */
  reply: RunningReply | null;
  stopping: boolean;
  /** There is no connection. */
  cut: boolean;
  /** Ask for another one in its place, where that is possible. */
  again: (() => void) | null;
}

/**
 * What a reply says, while it is written and afterwards. It follows its stream by itself, so that nothing else on the page
 * is touched; and it stays the same element when it is done, so that a selection in it stays too.
 */
export class Reply extends Component<Props> {
  private stop: (() => void) | null = null;
  private timer = 0;

  override componentDidMount(): void {
    const { client, message } = this.props;
    this.stop = client.watchStream(message.id, () => this.forceUpdate());
    this.timer = window.setInterval(() => {
      const { reply } = this.props;
      if (reply && !reply.fold.end && !reply.fold.text) this.forceUpdate();
    }, 1000);
  }

  override componentWillUnmount(): void {
    this.stop?.();
    clearInterval(this.timer);
  }

  render({ message, reply, stopping, cut, again }: Props) {
    const fold = reply?.fold;
    const running = fold ? !fold.end : message.status === "streaming";
    const text = fold ? fold.text : (message.text ?? "");
    const reasoning = fold ? fold.reasoning : (message.reasoning ?? "");
    const tools = fold ? fold.tools : toolsOf(message);
    const told = segments(text, tools);
    const last = told.length - 1;
    const end = told[last]!;
    const asks = end.tools.some((each) => each.output === undefined);
    const thinking = running && reasoning !== "" && text === "";
    const aside = fold ? fold.state?.detail : message.status !== "interrupted" && message.detail;
    const broke = fold?.end?.type === "failed" ? fold.end.message : message.status === "interrupted" && (message.detail || "The reply broke off here.");
    const stopped = (this.props.client.session.thread?.people.length ?? 0) > 1 ? "It was stopped" : "You stopped it";
    const waits = running && !thinking && !asks && !BEGUN.test(end.text);
    const answer = (call: string, allow: boolean) => this.props.client.approve(message.id, call, allow);
    return (
      <>
        {aside && (
          <p key="aside" class="aside">
            {aside}
          </p>
        )}
        {reasoning && <Reasoning key="reasoning" text={reasoning} live={thinking} />}
        {told.map((each, at) => [
          each.tools.length > 0 && <Tools key={`tools ${at}`} tools={each.tools} live={running} onAnswer={running ? answer : null} />,
          each.text && !(waits && at === last) && <Prose key={`prose ${at}`} text={each.text} live={running && at === last} />,
        ])}
        {waits && <Waiting key="waits" words={cut ? "Waiting for the connection" : stopping ? "Stopping" : waiting(fold?.state ?? null, reply ? performance.now() - reply.since : 0)} />}
        {!running && <Ending key="ending" message={message} broke={broke} again={again} stopped={stopped} />}
      </>
    );
  }
}

interface EndingProps {
  message: MessageView;
  broke: string | false | undefined;
  again: (() => void) | null;
  stopped: string;
}

function Ending({ message, broke, again, stopped }: EndingProps) {
  if (broke) {
    return (
      <p class="trouble">
        {broke}
        {again && (
          <button type="button" class="link-button" onClick={again}>
            Try again
          </button>
        )}
      </p>
    );
  }
  if (message.status === "stopped") return <p class="aside">{stopped} {message.text ? "here." : "before it began."}</p>;
  if (message.status === "complete" && !message.text) return <p class="aside">It ended without a word.</p>;
  return null;
}

export function Waiting({ words }: { words: string }) {
  return (
    <p class="waiting">
      {words}
      <span class="breath" />
    </p>
  );
}
