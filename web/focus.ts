/**
 * The keyboard's place on the page. A button that is hidden, disabled or removed while it has the focus would drop it to the body, from
 * where the way back is the whole page: it goes to what is next to it.
 */

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";

/** Whether it can have the focus now. */
function usable(element: Element): boolean {
  if (!element.isConnected || element.matches(":disabled")) return false;
  return element.checkVisibility?.({ visibilityProperty: true }) ?? (element as HTMLElement).offsetParent !== null;
}

/** What is nearest to a place that is gone: in the smallest box that has something, the first after it, else the last before it. */
function nearest(box: Element | null, place: Node): HTMLElement | undefined {
  for (let around = box; around; around = around.parentElement) {
    const all = [...around.querySelectorAll<HTMLElement>(FOCUSABLE)].filter((one) => one !== place && usable(one));
    const next = all.find((one) => place.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING);
    const found = next ?? all.at(-1);
    if (found) return found;
    if (around.matches('[role="tabpanel"]') && usable(around)) return around as HTMLElement;
  }
  return undefined;
}

export function keepFocus(): void {
  let at: HTMLElement | null = null;
  document.addEventListener("focusin", ({ target }) => {
    at = target as HTMLElement;
  });
  // Who presses on empty ground wants the focus to go.
  document.addEventListener("pointerdown", ({ target }) => {
    if (!(target as Element).closest(`${FOCUSABLE}, label`)) at = null;
  });
  const observer = new MutationObserver((records) => {
    const lost = at;
    if (!lost || usable(lost)) return;
    // Whoever changed the page may have put it elsewhere already.
    const { activeElement } = document;
    if (activeElement !== lost && activeElement !== document.body) return;
    const removal = records.find(({ removedNodes }) => [...removedNodes].some((node) => node.contains(lost)));
    const box = removal ? (removal.target as Element) : lost.parentElement;
    nearest(box, removal?.previousSibling ?? (removal ? removal.target : lost))?.focus();
  });
  observer.observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["hidden", "disabled", "open"] });
}
