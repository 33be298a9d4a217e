/**
 * Pages of React without a browser: real React renders into jsdom, without `act`, so that it schedules its work as in a
 * browser.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { JSDOM } from 'jsdom';
import { type ReactNode, StrictMode } from 'react';
import type { Root } from 'react-dom/client';
import { until } from '../../src/cli/until.ts';

/** What the tests use of an element. */
export interface PageElement extends Element {
  innerHTML: string;
  readonly textContent: string;
  append(child: PageElement): void;
  remove(): void;
  querySelectorAll(selector: string): ArrayLike<PageElement>;
}

export interface PageDocument {
  readonly body: PageElement;
  createElement(name: string): PageElement;
}

const { window } = new JSDOM('<!doctype html><title>page</title>');
// React looks for them when it is loaded.
Object.assign(globalThis, { window, document: window.document });
const { createElement } = await import('react');
const { createRoot, hydrateRoot } = await import('react-dom/client');
const { flushSync } = await import('react-dom');

export interface Page {
  readonly container: PageElement;
  /** The warnings and errors that React has reported. */
  readonly problems: readonly string[];
  /** Renders a tree, or another one in its place, at once. */
  show(tree: ReactNode): void;
  /** @returns the root of the tree, for trees that React is to render when it finds time */
  root(): Root;
  /** Takes over what a server has rendered. */
  hydrate(html: string, tree: ReactNode): void;
  unmount(): void;
  /** Waits until the page shows this text. */
  shows(text: string): Promise<unknown>;
  /** The text of the elements that fit. */
  texts(selector: string): readonly string[];
}

/** @returns an empty page, whose trees run in StrictMode; the test fails if React warns of anything */
export function page(t: TestContext): Page {
  const container = window.document.createElement('main');
  window.document.body.append(container);
  const problems: string[] = [];
  const report = (...words: readonly unknown[]): void => {
    problems.push(words.map(String).join(' '));
  };
  t.mock.method(console, 'error', report);
  const strict = (tree: ReactNode): ReactNode => createElement(StrictMode, null, tree);
  let root: Root | null = null;
  const rootOf = (): Root => {
    root ??= createRoot(container);
    return root;
  };
  const unmount = (): void => {
    flushSync(() => root?.unmount());
    root = null;
  };
  t.after(() => {
    unmount();
    container.remove();
    assert.deepEqual(problems, []);
  });
  return {
    container,
    problems,
    root: rootOf,
    show: (tree) => flushSync(() => rootOf().render(strict(tree))),
    hydrate: (html, tree) => {
      container.innerHTML = html;
      root = hydrateRoot(container, strict(tree), {
        onRecoverableError: (error) => report(error),
      });
    },
    unmount,
    shows: (text) => until(`the page shows ${text}`, () => container.textContent === text),
    texts: (selector) => Array.from(container.querySelectorAll(selector), (each) => each.textContent),
  };
}
