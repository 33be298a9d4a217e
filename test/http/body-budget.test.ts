import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import test from 'node:test';
import fc from 'fast-check';
import { BodyBudget } from '../../src/http/request/bodies/body-budget.ts';

const LIMIT = 1_000;
const PIECE = 10;

interface Body {
  readonly stream: Readable;
  readonly size: number;
  came: number;
  isPaused: boolean;
}

test('bodies that arrive together never take more than the limit, and each is complete in the end', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: LIMIT / 2 / PIECE }), { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 6 }),
      fc.infiniteStream(fc.nat()),
      (sizes, clients, choices) => {
        const names = new Map<Readable, string>();
        const budget = new BodyBudget(
          () => LIMIT,
          (stream) => String(names.get(stream)),
        );
        const bodies = sizes.map((pieces, index): Body => {
          const stream = new Readable();
          names.set(stream, `client ${index % clients}`);
          return { stream, size: pieces * PIECE, came: 0, isPaused: false };
        });
        let open = [...bodies];
        let most = 0;
        while (open.length > 0) {
          const ready = open.filter(({ isPaused }) => !isPaused);
          assert.ok(ready.length > 0, 'somebody makes progress');
          const body = ready[(choices.next().value as number) % ready.length] as Body;
          if (body.came === body.size) {
            // It has been written.
            open = open.filter((each) => each !== body);
            budget.release(body.stream);
            continue;
          }
          body.came += PIECE;
          body.isPaused = !budget.hold(body.stream, body.came, body.size);
          if (body.came === body.size) budget.complete(body.stream);
          if (body.isPaused) {
            budget.whenRoom(body.stream, () => {
              body.isPaused = false;
            });
          }
          most = Math.max(most, budget.bytes);
        }
        // Each may bring one piece before it is told to wait; and with several clients the oldest may be one too many.
        const beyond = clients === 1 ? 0 : LIMIT / 2;
        assert.ok(most <= LIMIT + beyond + sizes.length * PIECE, `${most} bytes`);
        assert.equal(budget.bytes, 0);
      },
    ),
  );
});

test('one body may be larger than the limit, and goes on when no other is in the way', () => {
  const budget = new BodyBudget(
    () => LIMIT,
    () => 'client',
  );
  const [large, other] = [new Readable(), new Readable()];
  assert.ok(budget.hold(large, 2 * LIMIT, 4 * LIMIT));
  assert.ok(!budget.hold(other, 1, 1));
  let goesOn = false;
  budget.whenRoom(other, () => {
    goesOn = true;
  });
  assert.ok(budget.isWaiting(other));
  budget.complete(large);
  assert.ok(!goesOn, 'it is not written yet');
  budget.release(large);
  assert.ok(goesOn);
});

test('a client whose bodies do not end leaves room for the bodies of another client', () => {
  const names = new Map<Readable, string>();
  const budget = new BodyBudget(
    () => LIMIT,
    (stream) => String(names.get(stream)),
  );
  const begun = (client: string): Readable => {
    const stream = new Readable();
    names.set(stream, client);
    return stream;
  };
  for (let count = 0; count < 50; count += 1) {
    const stream = begun('greedy');
    for (let came = PIECE; came < LIMIT / 5 && budget.hold(stream, came, LIMIT / 5); came += PIECE);
  }
  for (let count = 0; count < 20; count += 1) {
    const stream = begun('other');
    for (let came = PIECE; came <= LIMIT / 5; came += PIECE) {
      assert.ok(budget.hold(stream, came, LIMIT / 5), `body ${count}, ${came} bytes`);
    }
    budget.complete(stream);
    budget.release(stream);
  }
});

test('the length of a body that another client sends is not seen by how much of the own ones is read', () => {
  const limit = 8 * 1024 * 1024;
  const read = (foreignBytes: number): number => {
    const names = new Map<Readable, string>();
    const budget = new BodyBudget(
      () => limit,
      (stream) => String(names.get(stream)),
    );
    const body = (client: string): Readable => {
      const stream = new Readable();
      names.set(stream, client);
      return stream;
    };
    budget.hold(body('other'), foreignBytes, foreignBytes);
    // The first body of a client may exceed its share, so the second one tells.
    budget.hold(body('curious'), 1, 1);
    const second = body('curious');
    let bytes = 0;
    while (budget.hold(second, bytes + 512, limit)) bytes += 512;
    return bytes;
  };
  const large = 1024 * 1024;
  assert.equal(read(large + 1), read(large + large / 8));
  assert.notEqual(read(large), read(2 * large), 'the measure sees differences');
});
