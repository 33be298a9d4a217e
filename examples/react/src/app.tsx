import { useEntries } from 'psyncd-client/react';
import { Connection } from './connection.tsx';
import { entries, prefix } from './live.ts';
import { NewTask } from './new-task.tsx';
import { Task } from './task.tsx';

export function App() {
  const tasks = useEntries(entries, { prefix });
  return (
    <>
      <header>
        <h1>Tasks</h1>
        <Connection />
      </header>
      <NewTask />
      {/* A task whose entry has not changed is the same object, so React does not render it again. */}
      <ul>
        {tasks.map((task) => (
          <Task key={task.key} task={task} />
        ))}
      </ul>
    </>
  );
}
