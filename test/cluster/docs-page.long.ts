/** `/docs` in a real browser: its buttons send what they show, and what deletes much is asked about first. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Page } from 'playwright-core';
import { launched, WITHOUT_BROWSER } from '../support/browser.ts';
import { Cluster } from '../support/cluster.ts';

/** Opens an operation and sends it as it is filled in. */
async function send(page: Page, operation: string): Promise<void> {
  const block = page.locator(`[id="operations-${operation}"]`);
  if ((await block.locator('.execute').count()) === 0) {
    await block.locator('.opblock-summary-control').click();
    await block.locator('.try-out__btn').click();
  }
  await block.locator('.execute').click();
}

async function status(page: Page, operation: string): Promise<string> {
  const column = page
    .locator(`[id="operations-${operation}"] .live-responses-table .response-col_status`)
    .last();
  return ((await column.textContent()) ?? '').trim();
}

test('the page of the document sends what it fills in, and asks before it deletes many entries', {
  skip: WITHOUT_BROWSER,
}, async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  await node.client.set('user:1', 'Ada');
  await node.client.set('greeting', 'hello');
  const page = await (await launched(t)).newPage();
  const questions: string[] = [];
  let means = false;
  page.on('dialog', async (dialog) => {
    questions.push(dialog.message());
    await (means ? dialog.accept() : dialog.dismiss());
  });
  await page.goto(`${node.url}/docs/`);
  for (const operation of [
    'keys-getKey',
    'keys-listKeys',
    'changes-followChanges',
    'replication-getReplication',
  ]) {
    await send(page, operation);
    assert.equal(await status(page, operation), '200', operation);
  }
  assert.deepEqual(questions, []);
  await send(page, 'keys-deleteKeys');
  await page.getByText('it was not sent').first().waitFor();
  assert.match(questions.join(), /^DELETE \/v1\/keys\n/);
  assert.notEqual(await node.client.get('user:1'), null);
  means = true;
  await send(page, 'keys-deleteKeys');
  await page.getByText('"deleted": 1').first().waitFor();
  assert.equal(await node.client.get('user:1'), null);
  assert.notEqual(await node.client.get('greeting'), null);
});
