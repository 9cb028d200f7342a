// What the browser keeps for us. A browser that keeps nothing is no reason to fail.

export function read(store: "local" | "session", key: string): string | null {
  try {
    return (store === "local" ? localStorage : sessionStorage).getItem(`legato.${key}`);
  } catch {
    return null;
  }
}

export function write(store: "local" | "session", key: string, value: string | null): void {
  try {
    const where = store === "local" ? localStorage : sessionStorage;
    if (value === null) where.removeItem(`legato.${key}`);
    else where.setItem(`legato.${key}`, value);
  } catch {
    // Full, or forbidden: the page works without.
  }
}
