/** Parts of drawings that the page makes itself. */
const SVG = "http://www.w3.org/2000/svg";

export function svgElement(name: string, attributes: Record<string, string | number>): SVGElement {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}

/** @param anchor which end of the text is at x: `start`, `middle` or `end` */
export function svgText(content: string, x: number, y: number, anchor: string): SVGElement {
  const node = svgElement("text", { x, y, "text-anchor": anchor });
  node.textContent = content;
  return node;
}
