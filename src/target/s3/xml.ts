/** Reads the answers of S3 that are XML. The parser knows no entities of documents, and loads nothing. */
import { parseXml, type XmlElement } from '@rgrove/parse-xml';

/** Levels of elements below the root that are looked at. */
const MAX_DEPTH = 4;

/** An element: its text, or its elements by name. */
export interface Element {
  readonly name: string;
  readonly text: string;
  readonly children: readonly Element[];
}

/** @returns the root; null: it is no XML, such as a page of a proxy */
export function readXml(text: string): Element | null {
  try {
    const { root } = parseXml(text);
    return root === null ? null : elementOf(root, MAX_DEPTH);
  } catch {
    // The parser throws its own errors, and that of the stack when elements are nested deeply.
    return null;
  }
}

function elementOf(element: XmlElement, depth: number): Element {
  const children: Element[] = [];
  let text = '';
  for (const child of element.children) {
    if (child.type === 'element') {
      if (depth > 0) children.push(elementOf(child as XmlElement, depth - 1));
    } else if (child.type === 'text' || child.type === 'cdata')
      text += (child as { text?: string }).text ?? '';
  }
  return { name: element.name, text, children };
}

/** @returns the text of the first child with this name; '': there is none */
export function textIn({ children }: Element, name: string): string {
  return children.find((child) => child.name === name)?.text ?? '';
}

/** @returns the children with this name */
export function allIn({ children }: Element, name: string): readonly Element[] {
  return children.filter((child) => child.name === name);
}

/** @returns the text for the inside of an element */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (found) => `&#${found.charCodeAt(0)};`);
}
