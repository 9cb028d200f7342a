import type { ClientMessage } from "../protocol";

/** What the client has to do after an input to the session. */
export type Effect =
  | { type: "connect" }
  | { type: "close" }
  | { type: "send"; message: ClientMessage }
  /** Render the page: something other than the text of a running reply has changed. */
  | { type: "render" }
  | { type: "replyUpdated"; stream: string }
  /** Load the list of conversations again. */
  | { type: "refreshList" }
  /** The new conversation on the page has an id now: put it into the address bar. */
  | { type: "setConversationUrl"; conversation: string }
  | { type: "openConversation"; conversation: string }
  | { type: "replyStarted"; stream: string }
  | { type: "replyEnded"; stream: string }
  | { type: "approvalNeeded"; tool: string }
  | { type: "saveOutbox" };
