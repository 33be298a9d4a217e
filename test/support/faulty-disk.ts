/** A node whose disk fails, or waits, where the test says. */
import { rename, writeFile } from 'node:fs/promises';
import type { ChildNode } from '../../src/cli/child-node.ts';
import type { FaultPoint } from '../../src/store/fault-point.ts';
import type { Cluster } from './cluster.ts';

type Faults = Partial<Record<FaultPoint | 'trace', string>>;

/** A node's disk that the test can break and mend. */
export class FaultyDisk {
  /** For the variable PSYNCD_FAULTS of a process. */
  readonly file: string;

  private constructor(file: string) {
    this.file = file;
  }

  static async create(cluster: Cluster, name: string): Promise<FaultyDisk> {
    const disk = new FaultyDisk(cluster.data(`${name}.faults.json`));
    await disk.fail({});
    return disk;
  }

  async fail(faults: Faults): Promise<void> {
    // The node may be reading it.
    await writeFile(`${this.file}.new`, JSON.stringify(faults));
    await rename(`${this.file}.new`, this.file);
  }

  mend(): Promise<void> {
    return this.fail({});
  }

  start(cluster: Cluster, name: string, ...flags: string[]): Promise<ChildNode> {
    return cluster.startWith({ PSYNCD_FAULTS: this.file }, name, ...flags);
  }
}
