import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { copy, ReplyMessage, Said, UserMessage } from "./Message";
import { useClient } from "./hooks";
import { Answer } from "./Answer";
import { Waiting } from "./Reply";

interface Props {
  editing: string | null;
  onEdit: (message: string | null) => void;
  speaker: string;
  onAway: (away: boolean) => void;
  onTakeBack: () => void;
  /** Counts up when the page shall go to the end. */
  toEnd: number;
}

const NEAR = 24;

export function Thread({ editing, onEdit, speaker, onAway, onTakeBack, toEnd }: Props) {
  const client = useClient();
  const { session } = client;
  const { places, pending } = session.shown();
  const scroll = useRef<HTMLDivElement>(null);
  const column = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  const [ready, setReady] = useState(false);
  const conversation = session.thread?.id ?? null;

  const stick = (value: boolean) => {
    if (stuck.current === value) return;
    stuck.current = value;
    onAway(!value);
  };
  const end = () => {
    const box = scroll.current;
    if (box) box.scrollTop = box.scrollHeight;
  };

  useLayoutEffect(() => {
    stick(true);
    end();
  }, [conversation, toEnd]);

  useEffect(() => {
    const box = scroll.current!;
    const watch = new ResizeObserver(() => {
      if (stuck.current) end();
    });
    watch.observe(column.current!);
    watch.observe(box);
    setReady(true);
    const distance = () => box.scrollHeight - box.clientHeight - box.scrollTop;
    // Text that grows moves the end away; only a hand moves the page up.
    let top = box.scrollTop;
    let height = box.scrollHeight;
    const onScroll = () => {
      if (distance() <= NEAR) stick(true);
      else if (box.scrollHeight === height && box.scrollTop < top - 1) stick(false);
      top = box.scrollTop;
      height = box.scrollHeight;
    };
    // A hand on the page wins over the text at once, however little it moves.
    const onWheel = (event: WheelEvent) => {
      if (event.deltaY < 0 && box.scrollHeight > box.clientHeight) stick(false);
    };
    let touch = 0;
    const onTouchStart = (event: TouchEvent) => (touch = event.touches[0]?.clientY ?? 0);
    const onTouchMove = (event: TouchEvent) => {
      if ((event.touches[0]?.clientY ?? 0) > touch + 4 && box.scrollHeight > box.clientHeight) stick(false);
    };
    const onKey = (event: KeyboardEvent) => {
      if (["PageUp", "Home", "ArrowUp"].includes(event.key) && box.scrollHeight > box.clientHeight) stick(false);
    };
    box.addEventListener("scroll", onScroll, { passive: true });
    box.addEventListener("wheel", onWheel, { passive: true });
    box.addEventListener("touchstart", onTouchStart, { passive: true });
    box.addEventListener("touchmove", onTouchMove, { passive: true });
    box.addEventListener("keydown", onKey);
    return () => {
      watch.disconnect();
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
    void copy((code.textContent ?? "").replace(/\n$/, "")).then((done) => {
      if (!done) return;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  };

  const command = pending?.command;
  const said = command && command.type !== "regenerate" ? command.text : null;
  const waits = pending && !pending.refusal;
  return (
    <div class="scroll" ref={scroll} role="region" aria-label="Messages" tabindex={0} data-ready={ready} onClick={copyCode}>
      <div class="column" ref={column}>
        {places.map((place, at) => {
          const last = at >= places.length - 2 && !pending;
          return place.message.role === "user" ? (
            <UserMessage key={place.message.id} client={client} place={place} last={false} editing={editing === place.message.id} onEdit={onEdit} />
          ) : place.message.role === "assistant" ? (
            <ReplyMessage key={place.message.id} client={client} place={place} last={last} speaker={speaker} />
          ) : null;
        })}
        {session.answer && <Answer answer={session.answer} />}
        {said != null && (
          <article class="message user pending">
            <h2 class="sr-only">You</h2>
            <Said text={said} />
          </article>
        )}
        {waits && (
          <div class="message reply">
            <Waiting words={session.phase === "live" ? "Sending" : "Kept here, goes out when the connection is back"} />
            <div class="foot" />
          </div>
        )}
        {pending?.refusal && (
          <div class="message reply">
            <p class="trouble">
              {pending.refusal.message}{" "}
              <button type="button" class="link-button" onClick={() => client.again()}>
                Send again
              </button>{" "}
              <button type="button" class="link-button" onClick={onTakeBack}>
                Take it back
              </button>
            </p>
          </div>
        )}
      </div>
    </div>
  );
}
