import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { CommandHelp } from "../live/rest";
import { useClient } from "./hooks";

export interface Menu {
  items: CommandHelp[];
  at: number;
  move: (step: number) => void;
  close: () => void;
}

/** The commands that what is being typed may become; null where it is none, or the menu was closed. */
export function useMenu(draft: string): Menu | null {
  const client = useClient();
  const [all, setAll] = useState<CommandHelp[]>([]);
  const [at, setAt] = useState(0);
  const [closed, setClosed] = useState(false);
  const begins = /^\/\S*$/.test(draft);

  useEffect(() => {
    if (!begins) setClosed(false);
    else void client.commands().then(setAll);
  }, [begins]);
  useEffect(() => setAt(0), [draft]);

  const items = begins && !closed ? all.filter((each) => `/${each.name}`.startsWith(draft.toLowerCase())) : [];
  if (items.length === 0) return null;
  const move = (step: number) => setAt((at + step + items.length) % items.length);
  return { items, at: Math.min(at, items.length - 1), move, close: () => setClosed(true) };
}

export function CommandMenu({ menu, onPick }: { menu: Menu; onPick: (command: CommandHelp) => void }) {
  const chosen = useRef<HTMLLIElement>(null);
  useLayoutEffect(() => chosen.current?.scrollIntoView({ block: "nearest" }), [menu.at]);
  return (
    <ul class="commands" id="commands" role="listbox" aria-label="Commands" tabindex={0}>
      {menu.items.map((each, at) => (
        <li
          key={each.name}
          ref={at === menu.at ? chosen : null}
          id={`command-${at}`}
          role="option"
          aria-selected={at === menu.at}
          onMouseDown={(event) => event.preventDefault()}
          onClick={() => onPick(each)}
        >
          <code>{each.usage}</code> <span class="quiet">{each.help.split("`").map((part, at) => (at % 2 ? <code>{part}</code> : part))}</span>
        </li>
      ))}
    </ul>
  );
}
