// The content of a reply, built from the events of its stream. It computes the same as `legato.stream.ReplySnapshot`.

import type { Delta, Failed, Finished, State, ToolAsked, ToolStarted } from "../protocol";

export type StreamEvent = Delta["events"][number];

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
  /** The length of the reply's text when the call began. */
  textOffset: number;
  /** Undefined while the tool runs. */
  output?: string;
  failed: boolean;
  /** It waited for approval and ended without it, so it never ran. */
  refused: boolean;
  /** Whether the tool runs only after a user has allowed it. */
  awaitingApproval: boolean;
}

export class ReplySnapshot {
  text = "";
  reasoning = "";
  toolCalls: ToolCall[] = [];
  state: State | null = null;
  /** Whether something was written since `state`. */
  writtenSinceState = false;
  end: Finished | Failed | null = null;

  /** Apply one event. Events after a terminal event, and events of unknown types, are ignored. */
  apply(event: StreamEvent): void {
    if (this.end) return;
    switch (event.type) {
      case "text":
        this.text += event.text;
        this.writtenSinceState = true;
        break;
      case "reasoning":
        this.reasoning += event.text;
        break;
      case "tool_asked":
        this.addToolCall(event, true);
        break;
      case "tool_started": {
        const approved = this.toolCalls.find((each) => each.id === event.call && each.awaitingApproval);
        if (approved) approved.awaitingApproval = false;
        else this.addToolCall(event, false);
        break;
      }
      case "tool_finished": {
        const toolCall = this.toolCalls.find((each) => each.id === event.call && each.output === undefined);
        if (toolCall) {
          toolCall.output = event.output;
          toolCall.failed = event.failed ?? false;
          toolCall.refused = toolCall.awaitingApproval;
          toolCall.awaitingApproval = false;
        }
        break;
      }
      case "state":
        this.state = event;
        this.writtenSinceState = false;
        break;
      case "rewound":
        this.text = event.text ?? "";
        this.reasoning = event.reasoning ?? "";
        break;
      case "finished":
      case "failed":
        this.end = event;
        break;
    }
  }

  private addToolCall(event: ToolAsked | ToolStarted, awaitingApproval: boolean): void {
    const { call: id, name } = event;
    this.toolCalls.push({ id, name, arguments: event.arguments, textOffset: this.text.length, failed: false, refused: false, awaitingApproval });
  }
}
