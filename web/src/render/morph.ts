// Make one element's children like another's, touching only what differs: a selection, a scrolled line of code and the
// focus survive the next words.

export function morph(from: Node, to: Node): void {
  let old = from.firstChild;
  let fresh = to.firstChild;
  while (fresh) {
    const nextFresh = fresh.nextSibling;
    if (!old) {
      from.appendChild(fresh);
    } else {
      const nextOld = old.nextSibling;
      if (!alike(old, fresh)) {
        from.replaceChild(fresh, old);
      } else if (old instanceof Element) {
        attributes(old, fresh as Element);
        morph(old, fresh);
      } else if (old.nodeValue !== fresh.nodeValue) {
        write(old as CharacterData, fresh.nodeValue ?? "");
      }
      old = nextOld;
    }
    fresh = nextFresh;
  }
  while (old) {
    const next = old.nextSibling;
    from.removeChild(old);
    old = next;
  }
}

function alike(a: Node, b: Node): boolean {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName;
}

/** Appending leaves a selection in the node where it is; replacing the text would not. */
function write(node: CharacterData, text: string): void {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

function attributes(old: Element, fresh: Element): void {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}
