/** The bytes of a range as a string of one character for each byte. */
export function bytesToString(bytes: Uint8Array, start: number, end: number): string {
  let text = '';
  for (let at = start; at < end; at += 1024) {
    text += String.fromCharCode(...bytes.subarray(at, Math.min(end, at + 1024)));
  }
  return text;
}

/** Stores a string of one character for each byte. @returns the offset after it */
export function putString(text: string, target: Uint8Array, at: number): number {
  for (let i = 0; i < text.length; i++) target[at + i] = text.charCodeAt(i);
  return at + text.length;
}

/** Makes text the string of bytes, of UTF-8, that file systems have for a name. Lone surrogates become U+FFFD. */
export function encodeName(text: string): string {
  return encodeURIComponent(text.replace(/\p{Surrogate}/gu, '\ufffd')).replace(
    /%([0-9A-F]{2})/g,
    (_match, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

/** The text of a name that is UTF-8; one that is not is answered as it is, a character for each byte. */
export function decodeName(name: string): string {
  const escaped = name.replace(
    /[%\x80-\xff]/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  try {
    return decodeURIComponent(escaped);
  } catch {
    return name;
  }
}
