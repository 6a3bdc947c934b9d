// Coverage-guided fuzzing of the rings: node fuzz/run.mjs [--seconds 60] [--seed 1] [--input FILE]
import { runFuzzer } from '../../../scripts/fuzz.mjs';
import { fuzz } from './rings.mjs';

/** A ring of 8 with a chain of two buffers, direct and in a table, that is popped, used and asked about. */
function seedInput(features, packed) {
  const image = new DataView(new ArrayBuffer(0x600));
  const put = (at, address, length, flags, other) => {
    image.setUint32(at, address, true);
    image.setUint32(at + 8, length, true);
    image.setUint16(at + (packed ? 14 : 12), flags, true);
    image.setUint16(at + (packed ? 12 : 14), other, true);
  };
  const available = packed ? 0x80 : 0;
  put(0, 0x500, 32, available | 1, 1);
  put(16, 0x540, 32, available | 2, 1);
  put(32, 0x400, 32, available | 4, 2);
  put(0x400, 0x500, 32, packed ? 0 : 1, 1);
  put(0x410, 0x540, 32, 2, 0);
  if (!packed) {
    image.setUint16(0x202, 2, true);
    image.setUint16(0x206, 2, true);
  }
  const operations = [3, 0, 0, 0, 1, 0, 1, 1, 0, 2, 4, 5, 7, 0, 6, 22];
  return Uint8Array.from([features, packed ? 7 : 3, ...new Uint8Array(image.buffer), ...operations]);
}

function special(data, at, random) {
  switch (random(3)) {
    case 0:
      // A descriptor over another one.
      data.copyWithin(2 + 16 * random(32), 2 + 16 * random(96), 2 + 16 * random(96) + 16);
      break;
    case 1:
      data.set([random(2) * 0xff, 0x80 | random(8)].slice(0, data.length - at), at);
      break;
    default:
      data[0] = random(32);
  }
}

await runFuzzer({
  name: 'ring-fuzz',
  covered: '/virtio-queue/dist/',
  seeds: Array.from({ length: 32 }, (_, features) => seedInput(features, (features & 1) !== 0)),
  maxInput: 0x800,
  special,
  fuzz,
});
