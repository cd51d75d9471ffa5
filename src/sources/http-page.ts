/** Tells a web page, such as the one to sign in to a network or a server, from the data that it stands in place of. */

/** Whether a body that is said to be of this type is a page. */
export const isPageType = (type: string | null): boolean => /^\s*(text\/html|application\/xhtml\+xml)\b/i.test(type ?? "");

/** Whether text or bytes begin as a page does. */
export function beginsAsPage(start: Uint8Array | string): boolean {
  const text = typeof start === "string" ? start.slice(0, 256) : new TextDecoder().decode(start.subarray(0, 256));
  return /^\uFEFF?\s*(<\?xml[^>]*>\s*)?(<!--[^]*?-->\s*)?<(!doctype\s+html|html|head|body|script|title|meta)\b/i.test(text);
}

/** What is got, and what to do, as the end of a message. */
export const PAGE =
  "a web page in its place; a network's or a server's page to sign in answers for it, or the address is a page's: " +
  "open it in a browser, sign in or correct it";
