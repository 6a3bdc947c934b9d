/** Channels of a command's stream. */
export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2 } as const;

export type Channel = (typeof CHANNEL)[keyof typeof CHANNEL];

const CREDIT_SIZE = 5;

/** Payload of `eof`. */
export function encodeChannel(channel: Channel): Uint8Array {
  return Uint8Array.of(channel);
}

/** @throws Error for another payload */
export function decodeChannel(payload: Uint8Array): Channel {
  const [channel] = payload;
  if (payload.length !== 1) throw new Error(`a channel in ${payload.length} bytes`);
  return checked(channel);
}

/** Payload of `credit`. */
export function encodeCredit(channel: Channel, bytes: number): Uint8Array {
  const payload = new Uint8Array(CREDIT_SIZE);
  payload[0] = channel;
  new DataView(payload.buffer).setUint32(1, bytes, true);
  return payload;
}

/** @throws Error for another payload */
export function decodeCredit(payload: Uint8Array): { readonly channel: Channel; readonly bytes: number } {
  if (payload.length !== CREDIT_SIZE) throw new Error(`credit in ${payload.length} bytes`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  return { channel: checked(payload[0]), bytes: view.getUint32(1, true) };
}

function checked(channel: number | undefined): Channel {
  if (channel !== 0 && channel !== 1 && channel !== 2) throw new Error(`no channel ${channel ?? ''}`);
  return channel;
}
