/**
 * Finds the subscriptions of a key: the values of all prefixes with which the key begins. The time grows with the length of the
 * key and with the number of values found, but not with the number or the lengths of the prefixes.
 *
 * It is a compressed trie over UTF-16 units: each node except the root stands for a prefix that has values, or for the common
 * beginning of at least two such prefixes. So it has fewer than two nodes for each prefix, however long the prefixes are.
 */

interface Node<T> {
  /** The units of the node's prefix after those of its parent's prefix; empty for the root. */
  label: string;
  /** Children by the first unit of their labels. */
  readonly children: Map<number, Node<T>>;
  readonly values: Set<T>;
}

export class PrefixTrie<T> {
  readonly #root: Node<T> = newNode('');

  /** Adds a value to a prefix; each prefix has each value once. */
  add(prefix: string, value: T): void {
    let node = this.#root;
    for (let at = 0; at < prefix.length; ) {
      const unit = prefix.charCodeAt(at);
      const child = node.children.get(unit);
      if (child === undefined) {
        const leaf = newNode<T>(prefix.slice(at));
        node.children.set(unit, leaf);
        node = leaf;
        break;
      }
      const shared = sharedLength(child.label, prefix, at);
      node = shared === child.label.length ? child : split(node, child, shared);
      at += shared;
    }
    node.values.add(value);
  }

  /** Removes the value from the prefix, if the prefix has it. */
  delete(prefix: string, value: T): void {
    let parent: Node<T> | null = null;
    let node = this.#root;
    for (let at = 0; at < prefix.length; at += node.label.length) {
      const child = node.children.get(prefix.charCodeAt(at));
      if (child === undefined || !prefix.startsWith(child.label, at)) return;
      parent = node;
      node = child;
    }
    node.values.delete(value);
    if (parent === null || node.values.size > 0) return;
    if (node.children.size === 0) {
      parent.children.delete(node.label.charCodeAt(0));
      if (parent !== this.#root) mergeWithOnlyChild(parent);
    } else {
      mergeWithOnlyChild(node);
    }
  }

  /**
   * Adds the values of all prefixes with which the key begins to `found`.
   * @returns how many nodes it looked at: at most one more than the key has UTF-16 units
   */
  find(key: string, found: Set<T>): number {
    let node = this.#root;
    for (let at = 0, looked = 1; ; looked += 1) {
      for (const value of node.values) found.add(value);
      const child = at < key.length ? node.children.get(key.charCodeAt(at)) : undefined;
      if (child === undefined || !key.startsWith(child.label, at)) return looked;
      node = child;
      at += child.label.length;
    }
  }

  /** Number of nodes, without the root. */
  get size(): number {
    let size = 0;
    const open = [this.#root];
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      size += node.children.size;
      for (const child of node.children.values()) open.push(child);
    }
    return size;
  }
}

function newNode<T>(label: string): Node<T> {
  return { label, children: new Map(), values: new Set() };
}

/** @returns the number of units that the label and the rest of the prefix from `at` have in common at their beginnings */
function sharedLength(label: string, prefix: string, at: number): number {
  const most = Math.min(label.length, prefix.length - at);
  let length = 0;
  while (length < most && label.charCodeAt(length) === prefix.charCodeAt(at + length)) length += 1;
  return length;
}

/** Puts a new node between a node and its child. @param length units of the child's label that it takes @returns the new node */
function split<T>(parent: Node<T>, child: Node<T>, length: number): Node<T> {
  const between = newNode<T>(child.label.slice(0, length));
  parent.children.set(between.label.charCodeAt(0), between);
  child.label = child.label.slice(length);
  between.children.set(child.label.charCodeAt(0), child);
  return between;
}

/** Replaces a node that has no values and only one child by that child. */
function mergeWithOnlyChild<T>(node: Node<T>): void {
  const [child] = node.children.values();
  if (child === undefined || node.values.size > 0 || node.children.size > 1) return;
  node.label += child.label;
  node.children.clear();
  for (const [unit, grandchild] of child.children) node.children.set(unit, grandchild);
  for (const value of child.values) node.values.add(value);
}
