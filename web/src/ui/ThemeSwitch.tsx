import { useState } from "preact/hooks";
import { read, write } from "../client/storage";
import { Icon } from "./icons";

const NEXT_THEME = { system: "light", light: "dark", dark: "system" } as const;
type Theme = keyof typeof NEXT_THEME;

export function ThemeSwitch() {
  const [theme, setTheme] = useState<Theme>(() => {
    const stored = read("local", "theme");
    return stored === "light" || stored === "dark" ? stored : "system";
  });
  const switchTheme = () => {
    const next = NEXT_THEME[theme];
    setTheme(next);
    write("local", "theme", next === "system" ? null : next);
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
  };
  return (
    <button type="button" class="icon-button with-label" title="Theme" onClick={switchTheme}>
      <Icon name="theme" />
      <span>Theme: {theme}</span>
    </button>
  );
}
