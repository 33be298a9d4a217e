/** The forms of text in requests and answers, as regular expressions for the schemas and in words for people. */

export const RUN_ID_PATTERN = '^[0-9a-f]{40}$';
/** At most as many as `MAX_CHAIN`. */
export const NODE_IDS_PATTERN = '^[0-9a-f]{40}(?:,[0-9a-f]{40}){0,31}$';
export const POSITION_PATTERN = '^[0-9a-f]{40}:[0-9]+$';
export const SHA256_PATTERN = '^[0-9a-f]{64}$';
export const HISTORY_HASH_PATTERN = '^[0-9a-f]{16}$';
/** What a replica announces of a snapshot whose connection broke: run ID, offset, length, bytes, CRC-32. */
export const PARTIAL_PATTERN = '^[0-9a-f]{40}:[0-9]{1,16}:[0-9]{1,14}:[0-9]{1,14}:[0-9a-f]{8}$';
/** A unit is needed: a number alone could be a time or a number of bytes. */
export const MAX_LAG_PATTERN = '^[0-9]{1,9}(?:\\.[0-9]{1,3})?(?:ms|s|m|h|b|kb|mb|gb)$';
export const INT64_PATTERN = '^-?[0-9]{1,19}$';

/** How a sentence about text that has another form goes on. */
export const PATTERNS_IN_WORDS: ReadonlyMap<unknown, string> = new Map([
  [RUN_ID_PATTERN, 'has to be a run ID: 40 characters of 0-9 and a-f'],
  [
    POSITION_PATTERN,
    'has to be RUNID:OFFSET, as "position" in an answer: a run ID of 40 characters of 0-9 and a-f, a colon and a number of bytes',
  ],
  [SHA256_PATTERN, 'has to be a SHA-256: 64 characters of 0-9 and a-f'],
  [NODE_IDS_PATTERN, 'has to be up to 32 node IDs with commas between them'],
  [PARTIAL_PATTERN, 'has to be <run ID>:<offset>:<length>:<bytes>:<crc32>'],
  [HISTORY_HASH_PATTERN, 'has to be a history hash: 16 characters of 0-9 and a-f'],
  [MAX_LAG_PATTERN, 'has to be a time or a size with its unit, such as 5s or 1mb'],
  [INT64_PATTERN, 'has to be a whole number of at most 19 digits'],
]);
