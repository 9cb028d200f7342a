import { createContext } from "preact";
import { useContext, useEffect, useLayoutEffect, useReducer, useState } from "preact/hooks";
import type { Client } from "../live/client";

export const ClientContext = createContext<Client>(null!);

/** The client, and a new look at it whenever something to see has changed. */
export function useClient(): Client {
  const client = useContext(ClientContext);
  const [, look] = useReducer((count: number) => count + 1, 0);
  useEffect(() => client.watch(() => look(undefined)), [client]);
  return client;
}

/** A new look every second while `on`. */
export function useSeconds(on: boolean): void {
  const [, look] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    if (!on) return;
    const timer = setInterval(() => look(undefined), 1000);
    return () => clearInterval(timer);
  }, [on]);
}

/** A text field as high as its text, `lines` at most. */
export function useGrowing(area: { current: HTMLTextAreaElement | null }, text: string, lines: number): void {
  const fit = () => {
    const field = area.current;
    if (!field) return;
    field.style.height = "auto";
    const { lineHeight, paddingTop, paddingBottom } = getComputedStyle(field);
    const rim = field.offsetHeight - field.clientHeight;
    const most = parseFloat(lineHeight) * lines + parseFloat(paddingTop) + parseFloat(paddingBottom);
    field.style.height = `${Math.min(field.scrollHeight, most) + rim}px`;
  };
  useLayoutEffect(fit, [text]);
  useEffect(() => {
    window.addEventListener("resize", fit);
    return () => window.removeEventListener("resize", fit);
  }, []);
}

/** Whether an element's text takes more than `most` lines, as wide as it is now. `text` is what it shows. */
export function useLong(element: { current: HTMLElement | null }, text: string, most: number): boolean {
  const [long, setLong] = useState(false);
  useLayoutEffect(() => {
    const shown = element.current;
    if (!shown) return;
    const measure = () => setLong(shown.scrollHeight > parseFloat(getComputedStyle(shown).lineHeight) * most);
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(shown);
    return () => watch.disconnect();
  }, [text]);
  return long;
}
