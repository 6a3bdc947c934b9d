import type { FrameStream } from '@vmm/virtio-devices';

/** A network with one host that answers pings: ARP requests for its address (RFC 826), and ICMP echo requests. */
export async function answerPings(nic: FrameStream, mac: Uint8Array, address: Uint8Array): Promise<void> {
  for await (const frame of nic) {
    if (frame.length < 42) continue;
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    const isMine = (at: number): boolean => address.every((byte, index) => frame[at + index] === byte);
    if (view.getUint16(12) === 0x0806 && view.getUint16(20) === 1 && isMine(38)) {
      frame.copyWithin(32, 22, 32); // who asked is the target of the answer
      frame.set(mac, 22);
      frame.set(address, 28);
      view.setUint16(20, 2);
    } else if (view.getUint16(12) === 0x0800 && frame[14] === 0x45 && frame[23] === 1 && isMine(30)) {
      if (frame[34] !== 8) continue;
      frame.copyWithin(30, 26, 30); // addresses change places, which leaves the checksum as it is
      frame.set(address, 26);
      frame[34] = 0; // an echo reply is another type than the request, and its checksum follows
      const sum = view.getUint16(36) + 0x0800;
      view.setUint16(36, (sum & 0xffff) + (sum >>> 16));
    } else {
      continue;
    }
    frame.copyWithin(0, 6, 12);
    frame.set(mac, 6);
    nic.send(frame);
  }
}
