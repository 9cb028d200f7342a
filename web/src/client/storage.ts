// Access to localStorage and sessionStorage. If the browser denies it, reads return null and writes do nothing.

import { PREFIX } from "./address";

/** Servers below different prefixes of one site share the storage, but not its content. The theme belongs to the site. */
function fullKey(key: string): string {
  return key === "theme" ? "legato.theme" : `legato${PREFIX}.${key}`;
}

export function read(store: "local" | "session", key: string): string | null {
  try {
    return (store === "local" ? localStorage : sessionStorage).getItem(fullKey(key));
  } catch {
    return null;
  }
}

export function write(store: "local" | "session", key: string, value: string | null): void {
  try {
    const storage = store === "local" ? localStorage : sessionStorage;
    if (value === null) storage.removeItem(fullKey(key));
    else storage.setItem(fullKey(key), value);
  } catch {
    // The storage is full or disabled. The page works without it.
  }
}
