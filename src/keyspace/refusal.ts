/** A request that is well formed and cannot be carried out on the state as it is. It leaves no effect. */
export type RefusalCode =
  | 'NOT_FOUND'
  | 'PRECONDITION_FAILED'
  | 'NOT_JSON'
  | 'NOT_INTEGER'
  | 'INTEGER_OVERFLOW'
  | 'VALUE_TOO_LARGE'
  | 'BATCH_TOO_LARGE';

export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: RefusalCode;
  /** What a program may want to know beside the code. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(code: RefusalCode, detail: string, extra: Readonly<Record<string, unknown>> = {}) {
    super(detail);
    this.code = code;
    this.extra = extra;
  }
}
