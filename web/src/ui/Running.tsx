import { Component } from "preact";
import type { Client } from "../live/client";
import type { Reply } from "../state/reply";
import { Prose } from "./Prose";
import { Reasoning } from "./Reasoning";
import { Tools } from "./Tools";
import { waiting } from "./words";

interface Props {
  client: Client;
  reply: Reply;
  stopping: boolean;
}

/** Until there is a letter, there is only a mark that may become anything. */
const BEGUN = /[\p{L}\p{N}]/u;

/** A reply that is being written. It follows its stream by itself, so that nothing else on the page is touched. */
export class Running extends Component<Props> {
  private stop: (() => void) | null = null;
  private timer = 0;

  override componentDidMount(): void {
    this.stop = this.props.client.watchStream(this.props.reply.stream, () => this.forceUpdate());
    this.timer = window.setInterval(() => {
      if (!this.props.reply.fold.text) this.forceUpdate();
    }, 1000);
  }

  override componentWillUnmount(): void {
    this.stop?.();
    clearInterval(this.timer);
  }

  render({ reply, stopping }: Props) {
    const { text, reasoning, state, tools, end } = reply.fold;
    const thinking = reasoning !== "" && text === "" && !end;
    return (
      <>
        {state?.detail && <p class="aside">{state.detail}</p>}
        {reasoning && <Reasoning text={reasoning} live={thinking} />}
        {tools.length > 0 && <Tools tools={tools} />}
        {BEGUN.test(text) || end ? (
          <Prose text={text} live={!end} />
        ) : (
          !thinking && <Waiting words={stopping ? "Stopping" : waiting(state, performance.now() - reply.since)} />
        )}
        {end?.type === "failed" && <p class="trouble">{end.message}</p>}
      </>
    );
  }
}

export function Waiting({ words }: { words: string }) {
  return (
    <p class="waiting">
      {words}
      <span class="breath" />
    </p>
  );
}
