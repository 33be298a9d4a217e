/** Names and lengths of objects in targets. What is no name is not read, not written, and not listed. */
import { TargetError } from '../node/ports/backup-target.ts';

/** Longest name, in characters; object storage allows 1024 bytes with the prefix. */
const MAX_NAME = 512;
/** Longest segment, in characters; file systems allow 255, and a name under which a file is made is longer. */
const MAX_SEGMENT = 200;
/** A dot at the begin is for files that are being made; a colon or a backslash has a meaning for some systems. */
const SEGMENT = /^[\w+=@-][\w.+=@-]*$/;

/** Whether the text is a relative path of plain segments. */
export function isTargetName(text: string): boolean {
  return (
    text.length <= MAX_NAME &&
    text.split('/').every((segment) => segment.length <= MAX_SEGMENT && SEGMENT.test(segment))
  );
}

/** @throws TargetError BAD_TARGET if the text is no name */
export function checkName(text: string): void {
  if (!isTargetName(text)) {
    throw new TargetError('BAD_TARGET', `${JSON.stringify(text.slice(0, MAX_NAME))} is no name for a target`);
  }
}

/** @throws TargetError BAD_TARGET if the text is no name of a folder; '' is one */
export function checkFolder(text: string): void {
  if (text !== '') checkName(text);
}

/** @param shown the object for people @param most undefined: any length @throws TargetError TARGET_ANSWER if the object is longer */
export function checkLength(shown: string, length: number, most: number | undefined): void {
  if (most === undefined || length <= most) return;
  throw new TargetError('TARGET_ANSWER', `${shown} has ${length} bytes, and should have ${most} at most`);
}
