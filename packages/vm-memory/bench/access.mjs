// ns per access to guest memory.
import { GuestMemory } from '@vmm/vm-memory';
import { measure } from './support.mjs';

const SIZE = 16 << 20;
const COUNT = 40_000;
const TWO_32 = 2 ** 32;

for (const [kind, Buffer] of [
  ['ArrayBuffer', ArrayBuffer],
  ['SharedArrayBuffer', SharedArrayBuffer],
]) {
  process.stdout.write(`${kind}\n`);
  const memory = new GuestMemory([
    { guestAddress: 0, bytes: new Uint8Array(new Buffer(SIZE)) },
    { guestAddress: 0x8000_0000, bytes: new Uint8Array(new Buffer(SIZE)) },
  ]);
  measure('  slice of 64 bytes', COUNT, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += memory.slice(0x8000_0000 + (i & 0xffff) * 64, 64).length;
    return sum;
  });
  measure('  readUint16', COUNT, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += memory.readUint16(0x8000_0000 + (i & 0xffff) * 2);
    return sum;
  });
  measure('  readUint16, regions in turn', COUNT, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += memory.readUint16((i & 1) * 0x8000_0000 + (i & 0xffff) * 2);
    return sum;
  });
  measure('  readUint64 as number', COUNT, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += memory.readUint64(0x8000_0000 + (i & 0xffff) * 8);
    return sum;
  });
  measure('  writeUint32', COUNT, (count) => {
    for (let i = 0; i < count; i++) memory.writeUint32(0x8000_0000 + (i & 0xffff) * 4, i);
  });
  measure('  descriptor by four reads of GuestMemory', COUNT, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const at = 0x8000_0000 + (i & 0xff) * 16;
      sum += memory.readUint32(at) + memory.readUint32(at + 4) * TWO_32;
      sum += memory.readUint32(at + 8) + memory.readUint32(at + 12);
    }
    return sum;
  });
  const words = memory.uint32View(0x8000_0000, 1024);
  measure('  descriptor by a view made once', COUNT, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const at = (i & 0xff) * 4;
      sum += words[at] + words[at + 1] * TWO_32 + words[at + 2] + words[at + 3];
    }
    return sum;
  });
  const { view } = memory.findRegion(0x8000_0000);
  measure('  descriptor by a DataView of the region', COUNT, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const at = (i & 0xff) * 16;
      sum += view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
      sum += view.getUint32(at + 8, true) + view.getUint32(at + 12, true);
    }
    return sum;
  });
  const page = new Uint8Array(4096);
  measure('  read of 4096 bytes', COUNT / 20, (count) => {
    for (let i = 0; i < count; i++) memory.read(0x8000_0000 + (i & 0xff) * 4096, page);
  });
  measure('  write of 4096 bytes', COUNT / 20, (count) => {
    for (let i = 0; i < count; i++) memory.write(0x8000_0000 + (i & 0xff) * 4096, page);
  });
  memory.enableDirtyTracking();
  measure('  writeUint32, dirty tracking on', COUNT, (count) => {
    for (let i = 0; i < count; i++) memory.writeUint32(0x8000_0000 + (i & 0xffff) * 4, i);
  });
}
