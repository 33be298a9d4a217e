/** The pages of the description are made once, however many strangers ask for them at the same moment. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { DocumentPages } from '../../src/http/document/pages.ts';

/** Pages of a server that answers when the test says so. @param statusCode of all answers */
function staged(statusCode: number) {
  const answers: ((error?: Error) => void)[] = [];
  const server = {
    inject: () =>
      new Promise((resolve, reject) => {
        const answer = { statusCode, headers: { etag: '"e"' }, rawPayload: Buffer.from('page') };
        answers.push((error) => (error === undefined ? resolve(answer) : reject(error)));
      }),
  };
  return { pages: new DocumentPages(server as never), answers };
}

test('a page that many ask for before it is there is made once', async () => {
  const { pages, answers } = staged(200);
  const asked = Array.from({ length: 1_600 }, () => pages.page('static/bundle.js'));
  assert.equal(answers.length, 1);
  answers[0]?.();
  const [first, ...others] = await Promise.all(asked);
  assert.equal(first?.body.toString(), 'page');
  for (const page of others) assert.equal(page, first);
  assert.equal(await pages.page('static/bundle.js'), first);
  assert.equal(answers.length, 1);
});

test('a page that is not there, or could not be made, is asked for anew', async () => {
  const absent = staged(404);
  for (const count of [1, 2]) {
    const asked = [absent.pages.page('x'), absent.pages.page('x')];
    absent.answers.at(-1)?.();
    assert.deepEqual(await Promise.all(asked), [null, null]);
    assert.equal(absent.answers.length, count);
  }
  const failing = staged(200);
  const asked = [failing.pages.page('x'), failing.pages.page('x')];
  failing.answers[0]?.(new Error('no file'));
  for (const page of asked) await assert.rejects(page, /no file/);
  const again = failing.pages.page('x');
  failing.answers[1]?.();
  assert.equal((await again)?.status, 200);
});
