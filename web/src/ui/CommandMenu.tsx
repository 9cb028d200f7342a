import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { CommandHelp } from "../client/rest";
import { useClient } from "./hooks";

export interface CommandMenuState {
  items: CommandHelp[];
  selected: number;
  move: (step: number) => void;
  close: () => void;
}

/** The commands whose names begin with the draft, or null if there are none or the user has closed the menu. */
export function useCommandMenu(draft: string): CommandMenuState | null {
  const client = useClient();
  const [commands, setCommands] = useState<CommandHelp[]>([]);
  const [selected, setSelected] = useState(0);
  const [closed, setClosed] = useState(false);
  const isCommandName = /^\/\S*$/.test(draft);

  useEffect(() => {
    if (!isCommandName) setClosed(false);
    else void client.listCommands().then(setCommands);
  }, [isCommandName]);
  useEffect(() => setSelected(0), [draft]);

  const items = isCommandName && !closed ? commands.filter((each) => `/${each.name}`.startsWith(draft.toLowerCase())) : [];
  if (items.length === 0) return null;
  const move = (step: number) => setSelected((selected + step + items.length) % items.length);
  return { items, selected: Math.min(selected, items.length - 1), move, close: () => setClosed(true) };
}

export function CommandMenu({ menu, onPick }: { menu: CommandMenuState; onPick: (command: CommandHelp) => void }) {
  const selectedItem = useRef<HTMLLIElement>(null);
  useLayoutEffect(() => selectedItem.current?.scrollIntoView({ block: "nearest" }), [menu.selected]);
  return (
    <ul class="command-menu" id="command-menu" role="listbox" aria-label="Commands" tabindex={0}>
      {menu.items.map((each, index) => (
        <li
          key={each.name}
          ref={index === menu.selected ? selectedItem : null}
          id={`command-${index}`}
          role="option"
          aria-selected={index === menu.selected}
          onMouseDown={(event) => event.preventDefault()}
          onClick={() => onPick(each)}
        >
          {/* The help text is plain text with code in backticks: every second part is code. */}
          <code>{each.usage}</code> <span class="muted">{each.help.split("`").map((part, index) => (index % 2 === 1 ? <code>{part}</code> : part))}</span>
        </li>
      ))}
    </ul>
  );
}
