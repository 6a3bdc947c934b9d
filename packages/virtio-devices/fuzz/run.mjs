// Coverage-guided fuzzing of the devices: node fuzz/run.mjs [--seconds 60] [--seed 1] [--input FILE]
import { runFuzzer } from '../../../scripts/fuzz.mjs';
import { fuzz } from './devices.mjs';
import { SUBJECTS } from './subjects.mjs';

/** Every request of a device, with something from the host between them. */
function seedInput(index, flags) {
  const operations = SUBJECTS[index].requests.flatMap((_, request) => [0, request, 0, 6, request, 4]);
  return Uint8Array.from([index, flags, ...operations, 11, 13]);
}

const random256 = (random, length) => Array.from({ length }, () => random(256));

await runFuzzer({
  name: 'device-fuzz',
  covered: '/virtio-devices/dist/',
  seeds: SUBJECTS.flatMap((_, index) => [0, 1, 2, 3, 6, 8].map((flags) => seedInput(index, flags))),
  maxInput: 0x400,
  special(data, at, random) {
    // Another operation, a request with a few changes, or another device.
    if (random(8) === 0) data[0] = random(SUBJECTS.length);
    else if (random(4) === 0) data[1] = random(16);
    else {
      const step = random(2) === 0 ? [0, random(16), random(4)] : [random(14)];
      data.set([...step, ...random256(random, 4)].slice(0, data.length - at), at);
    }
  },
  fuzz,
});
