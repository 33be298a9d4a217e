/**
 * Finds who wants a key: the values of all prefixes with which it begins, in time that grows with the length of the key and
 * with what is found, however many prefixes and different lengths of prefixes there are.
 *
 * A compressed trie over UTF-16 units: each node but the root stands for a prefix that has values, or for one where at least
 * two others part. So it has fewer than two nodes for each prefix, however long the prefixes are.
 */

interface Node<T> {
  /** What the node's prefix has more than that of its parent; of the root nothing. */
  label: string;
  /** By the first unit of their labels. */
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

  /** Takes the value from the prefix, if it is there. */
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

  /** How many nodes there are, the root left out. */
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

/** How many units the label has in common with what stands in the prefix at `at`. */
function sharedLength(label: string, prefix: string, at: number): number {
  const most = Math.min(label.length, prefix.length - at);
  let length = 0;
  while (length < most && label.charCodeAt(length) === prefix.charCodeAt(at + length)) length += 1;
  return length;
}

/** Places a new node between a node and its child. @returns the new node, which stands for the first `length` units */
function split<T>(parent: Node<T>, child: Node<T>, length: number): Node<T> {
  const between = newNode<T>(child.label.slice(0, length));
  parent.children.set(between.label.charCodeAt(0), between);
  child.label = child.label.slice(length);
  between.children.set(child.label.charCodeAt(0), child);
  return between;
}

/** A node without values that has only one child takes the child's place. */
function mergeWithOnlyChild<T>(node: Node<T>): void {
  const [child] = node.children.values();
  if (child === undefined || node.values.size > 0 || node.children.size > 1) return;
  node.label += child.label;
  node.children.clear();
  for (const [unit, grandchild] of child.children) node.children.set(unit, grandchild);
  for (const value of child.values) node.values.add(value);
}
