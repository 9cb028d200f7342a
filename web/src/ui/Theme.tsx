import { useState } from "preact/hooks";
import { read, write } from "../live/keep";
import { Icon } from "./icons";

const NEXT = { system: "light", light: "dark", dark: "system" } as const;
type Theme = keyof typeof NEXT;

export function ThemeSwitch() {
  const [theme, setTheme] = useState<Theme>(() => {
    const kept = read("local", "theme");
    return kept === "light" || kept === "dark" ? kept : "system";
  });
  const turn = () => {
    const next = NEXT[theme];
    setTheme(next);
    write("local", "theme", next === "system" ? null : next);
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
  };
  return (
    <button type="button" class="tool labelled" title="Theme" onClick={turn}>
      <Icon name="half" />
      <span>Theme: {theme}</span>
    </button>
  );
}
