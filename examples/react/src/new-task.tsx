import { useActionState } from 'react';
import { client, prefix } from './live.ts';
import { problemOf } from './problem.ts';

/** A form for another task. The new task appears in the list when the node sends it, as in every other page. */
export function NewTask() {
  const [failed, add, isPending] = useActionState(async (_: Failed | null, form: FormData) => {
    const text = String(form.get('text'));
    try {
      await client.set(newKey(), text, { ifAbsent: true });
      return null;
    } catch (error) {
      return { text, problem: problemOf(error) };
    }
  }, null);
  return (
    <form action={add}>
      <input
        name="text"
        aria-label="New task"
        placeholder="What is to be done?"
        defaultValue={failed?.text}
        required
      />
      <button type="submit" disabled={isPending}>
        Add
      </button>
      {failed !== null && <p role="alert">{failed.problem}</p>}
    </form>
  );
}

/** A task that the node has not taken: its text stays in the form. */
interface Failed {
  readonly text: string;
  readonly problem: string;
}

/** The list is in the order of the keys, so a new task comes last. The random part keeps two users apart. */
function newKey(): string {
  return `${prefix}${new Date().toISOString()}-${Math.random().toString(36).slice(2)}`;
}
