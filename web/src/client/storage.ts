// Access to localStorage and sessionStorage. If the browser denies it, reads return null and writes do nothing.

export function read(store: "local" | "session", key: string): string | null {
  try {
    return (store === "local" ? localStorage : sessionStorage).getItem(`legato.${key}`);
  } catch {
    return null;
  }
}

export function write(store: "local" | "session", key: string, value: string | null): void {
  try {
    const storage = store === "local" ? localStorage : sessionStorage;
    if (value === null) storage.removeItem(`legato.${key}`);
    else storage.setItem(`legato.${key}`, value);
  } catch {
    // The storage is full or disabled. The page works without it.
  }
}
