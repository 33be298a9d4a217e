/**
 * @returns the text with A to Z in lower case and all else as it is. `toLowerCase` turns other letters into these too, such as the Kelvin
 * sign into a k, so that one name would pass for another.
 */
export function asciiLowerCase(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
