/** A well-formed request that cannot be carried out in the current state. It has no effect. */
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
  /** Further members for programs, beside the code. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(code: RefusalCode, detail: string, extra: Readonly<Record<string, unknown>> = {}) {
    super(detail);
    this.code = code;
    this.extra = extra;
  }
}
