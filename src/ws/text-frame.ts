/** Makes a text message as a server sends it: one unmasked frame (RFC 6455, 5.2). */

const FINAL_TEXT = 0x81;
/** Longest payload whose length fits into the second byte, and into the two bytes after it. */
const SHORT = 125;
const MEDIUM = 0xffff;

/**
 * Makes a frame once, to be written to every socket; `ws` would make a header for each socket.
 * @param text contents of the message
 */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const header = length <= SHORT ? 2 : length <= MEDIUM ? 4 : 10;
  const frame = Buffer.allocUnsafeSlow(header + length);
  frame[0] = FINAL_TEXT;
  if (header === 2) frame[1] = length;
  else if (header === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.write(text, header, 'utf8');
  return frame;
}
