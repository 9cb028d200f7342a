// What a stream says, added up. The same sum as `legato.stream.Fold`.

import type { Delta, Failed, Finished, State, ToolAsked, ToolStarted } from "../protocol";

export type Event = Delta["events"][number];

export interface ToolUse {
  call: string;
  name: string;
  arguments: string;
  /** Where in the text it began. */
  at: number;
  /** Undefined while it runs. */
  output?: string;
  failed: boolean;
  /** It waits for a person's word before it runs. */
  asking: boolean;
}

export class Fold {
  text = "";
  reasoning = "";
  tools: ToolUse[] = [];
  state: State | null = null;
  end: Finished | Failed | null = null;

  /** Add one event. After a terminal event nothing more counts; events of a later protocol say nothing to us. */
  apply(event: Event): void {
    if (this.end) return;
    switch (event.type) {
      case "text":
        this.text += event.text;
        break;
      case "reasoning":
        this.reasoning += event.text;
        break;
      case "tool_asked":
        this.uses(event, true);
        break;
      case "tool_started": {
        const asked = this.tools.find((each) => each.call === event.call && each.asking);
        if (asked) asked.asking = false;
        else this.uses(event, false);
        break;
      }
      case "tool_finished": {
        const tool = this.tools.find((each) => each.call === event.call && each.output === undefined);
        if (tool) {
          tool.output = event.output;
          tool.failed = event.failed ?? false;
          tool.asking = false;
        }
        break;
      }
      case "state":
        this.state = event;
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

  private uses(event: ToolAsked | ToolStarted, asking: boolean): void {
    const { call, name } = event;
    this.tools.push({ call, name, arguments: event.arguments, at: this.text.length, failed: false, asking });
  }
}
