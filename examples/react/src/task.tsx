import type { Entry } from 'psyncd-client';
import { memo, useState, useTransition } from 'react';
import { client, entries } from './live.ts';
import { problemOf } from './problem.ts';

/** One task, which can be edited and removed. */
export const Task = memo(function Task({ task }: { task: Entry }) {
  const [draft, setDraft] = useState<Draft | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isPending, startTransition] = useTransition();
  const write = (action: () => Promise<unknown>) =>
    startTransition(async () => {
      try {
        await action();
        setDraft(null);
        setProblem(null);
      } catch (error) {
        setProblem(problemOf(error));
      }
    });
  const save = ({ text, version }: Draft) => {
    write(async () => {
      // Only if nobody else has written the task since the user began to edit it.
      const { position } = await client.set(task.key, text, { ifVersion: version });
      // The form stays until the list has the new text, so that the former one does not show once more.
      await entries.waitFor(position, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    });
  };
  const cancel = () => {
    setDraft(null);
    setProblem(null);
  };
  return (
    <li aria-busy={isPending}>
      {draft === null ? (
        <>
          <span>{textOf(task)}</span>
          <button type="button" onClick={() => setDraft({ text: textOf(task), version: task.version })}>
            Edit
          </button>
          <button type="button" onClick={() => write(() => client.delete(task.key))}>
            Remove
          </button>
        </>
      ) : (
        <form action={() => save(draft)}>
          <input
            aria-label="Task"
            value={draft.text}
            onChange={({ target }) => setDraft({ ...draft, text: target.value })}
          />
          <button type="submit">Save</button>
          <button type="button" onClick={cancel}>
            Cancel
          </button>
        </form>
      )}
      {draft !== null && draft.version !== task.version && <p>Now it is: {textOf(task)}</p>}
      {problem !== null && <p role="alert">{problem}</p>}
    </li>
  );
});

/** What the user is writing, and the version of the task from which the user began. */
interface Draft {
  readonly text: string;
  readonly version: number;
}

function textOf({ value }: Entry): string {
  return typeof value === 'string' ? value : `${value.length} bytes`;
}
