// The focus of the keyboard. An element that is removed or disabled while it has the focus would leave it to `body`.

/**
 * Whenever the focused element disappears, move the focus to an element near it: in the sidebar to the list, elsewhere to
 * `preferred`, or to the messages if there is none. Returns a function that ends this.
 */
export function keepFocus(preferred: () => HTMLElement | null): () => void {
  let last: Element | null = null;
  let wasInSidebar = false;
  const onFocus = (event: FocusEvent) => {
    last = event.target instanceof Element ? event.target : null;
    wasInSidebar = last?.closest(".sidebar") !== null;
  };
  const check = () => {
    if (!last || document.activeElement !== document.body) return;
    if (last.isConnected && !last.matches(":disabled, [inert] *")) return;
    last = null;
    const first = (selectors: string[]) => selectors.map((each) => document.querySelector<HTMLElement>(each)).find((each) => each && !each.closest("[inert]"));
    const inSidebar = wasInSidebar ? first([".item.current a", ".item a", ".sidebar input"]) : null;
    const field = preferred();
    const target = inSidebar ?? (field && !field.matches(":disabled") ? field : first([".scroll", "main"]));
    target?.focus({ preventScroll: true });
  };
  const observer = new MutationObserver(check);
  observer.observe(document.body, { subtree: true, childList: true, attributeFilter: ["disabled", "inert"] });
  document.addEventListener("focusin", onFocus);
  return () => {
    observer.disconnect();
    document.removeEventListener("focusin", onFocus);
  };
}
