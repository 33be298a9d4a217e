/** Reads the answers of S3 that are XML. The parser knows no entities of documents, and loads nothing. */
import { parseXml, type XmlElement } from '@rgrove/parse-xml';

/** Levels of elements below the root that are looked at. */
const MAX_DEPTH = 4;
/**
 * Most tags and entities of a text, those that close an element included: a page of a list is 250 objects of at most 64. The time of
 * the parser grows with them, and the event loop waits for it.
 */
const MAX_MARKUP = 16_000;

/** An element: its text, or its elements by name. */
export interface Element {
  readonly name: string;
  readonly text: string;
  readonly children: readonly Element[];
}

/** @returns the root; null: it is no XML, such as a page of a proxy, or has too much markup to be read within one turn */
export function readXml(text: string): Element | null {
  if (hasTooMuchMarkup(text)) return null;
  try {
    // The parser does the same, but in a time that grows with the square of the number of carriage returns.
    const { root } = parseXml(text.replace(/\r\n?/g, '\n'));
    return root === null ? null : elementOf(root, MAX_DEPTH);
  } catch {
    // The parser throws its own errors, and that of the stack when elements are nested deeply.
    return null;
  }
}

function hasTooMuchMarkup(text: string): boolean {
  let marks = 0;
  for (const mark of ['<', '&']) {
    for (let at = text.indexOf(mark); at !== -1; at = text.indexOf(mark, at + 1)) {
      marks += 1;
      if (marks > MAX_MARKUP) return true;
    }
  }
  return false;
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
