import { createContext } from "preact";
import { useContext, useEffect, useLayoutEffect, useReducer, useState } from "preact/hooks";
import type { Client } from "../client/client";

export const ClientContext = createContext<Client>(null!);

/** The client. The component renders again each time the client notifies its listeners. */
export function useClient(): Client {
  const client = useContext(ClientContext);
  const [, rerender] = useReducer((count: number) => count + 1, 0);
  useEffect(() => client.subscribe(() => rerender(undefined)), [client]);
  return client;
}

/** Make a text field as high as its text, but at most `maxLines` lines. `text` is the text in it. */
export function useAutoHeight(input: { current: HTMLTextAreaElement | null }, text: string, maxLines: number): void {
  const fit = () => {
    const field = input.current;
    if (!field) return;
    field.style.height = "auto";
    const { lineHeight, paddingTop, paddingBottom } = getComputedStyle(field);
    const borders = field.offsetHeight - field.clientHeight;
    const maxHeight = parseFloat(lineHeight) * maxLines + parseFloat(paddingTop) + parseFloat(paddingBottom);
    field.style.height = `${Math.min(field.scrollHeight, maxHeight) + borders}px`;
  };
  useLayoutEffect(fit, [text]);
  useEffect(() => {
    window.addEventListener("resize", fit);
    return () => window.removeEventListener("resize", fit);
  }, []);
}

/** Whether the text of an element takes more than `maxLines` lines at its present width. `text` is the text in it. */
export function useExceedsLines(element: { current: HTMLElement | null }, text: string, maxLines: number): boolean {
  const [long, setLong] = useState(false);
  useLayoutEffect(() => {
    const target = element.current;
    if (!target) return;
    const measure = () => setLong(target.scrollHeight > parseFloat(getComputedStyle(target).lineHeight) * maxLines);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(target);
    return () => observer.disconnect();
  }, [text]);
  return long;
}
