import { createContext } from "preact";
import { useContext, useEffect, useReducer } from "preact/hooks";
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
