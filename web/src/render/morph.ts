// DOM patching.

/**
 * Make the children of `from` equal to those of `to`, and change only what differs. A selection, the scroll position of
 * code and the focus are kept. An element for which `isUnchanged` returns true is left as it is.
 */
export function morph(from: Node, to: Node, isUnchanged: (current: Element, target: Element) => boolean): void {
  let current = from.firstChild;
  let target = to.firstChild;
  while (target) {
    const nextTarget = target.nextSibling;
    if (!current) {
      from.appendChild(target);
    } else {
      const nextCurrent = current.nextSibling;
      if (!sameType(current, target)) {
        from.replaceChild(target, current);
      } else if (current instanceof Element) {
        if (!isUnchanged(current, target as Element)) {
          updateAttributes(current, target as Element);
          morph(current, target, isUnchanged);
        }
      } else if (current.nodeValue !== target.nodeValue) {
        updateText(current as CharacterData, target.nodeValue ?? "");
      }
      current = nextCurrent;
    }
    target = nextTarget;
  }
  while (current) {
    const next = current.nextSibling;
    from.removeChild(current);
    current = next;
  }
}

function sameType(a: Node, b: Node): boolean {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName;
}

/** Append if possible: unlike replacing the text, appending keeps a selection in the node. */
function updateText(node: CharacterData, text: string): void {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

function updateAttributes(current: Element, target: Element): void {
  for (const { name } of [...current.attributes]) if (!target.hasAttribute(name)) current.removeAttribute(name);
  for (const { name, value } of target.attributes) if (current.getAttribute(name) !== value) current.setAttribute(name, value);
}
