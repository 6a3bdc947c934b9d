// Coverage-guided fuzzing of the rings: node fuzz/run.mjs [--seconds 60] [--seed 1] [--input FILE]
// Inputs are kept when V8's block coverage of this package, or what they lead to, is new. What fails is written to a file in the
// temporary directory, and `--input` runs such a file alone.
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fuzz } from './rings.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    input: { type: 'string' },
  },
});

/** A generator of 32-bit numbers (mulberry32). */
function generator(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

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

const MAX_INPUT = 0x800;
const INTERESTING = [0, 1, 2, 4, 7, 8, 15, 16, 31, 32, 0x7f, 0x80, 0x81, 0x84, 0xff];

function mutate(random, corpus) {
  let data = Uint8Array.from(corpus[random(corpus.length)]);
  for (let i = 1 + random(6); i > 0; i--) {
    const at = random(data.length);
    switch (random(9)) {
      case 0:
        data[at] ^= 1 << random(8);
        break;
      case 1:
        data[at] = random(256);
        break;
      case 2:
        data[at] = INTERESTING[random(INTERESTING.length)];
        break;
      case 3:
        data[at] += random(33) - 16;
        break;
      case 4:
        // A descriptor over another one.
        data.copyWithin(2 + 16 * random(32), 2 + 16 * random(96), 2 + 16 * random(96) + 16);
        break;
      case 5:
        data.set([random(2) * 0xff, 0x80 | random(8)].slice(0, data.length - at), at);
        break;
      case 6: {
        const other = corpus[random(corpus.length)];
        const from = random(other.length);
        data = Uint8Array.from([...data.subarray(0, at), ...other.subarray(from)]).subarray(0, MAX_INPUT);
        break;
      }
      case 7: {
        const more = Array.from({ length: 1 + random(12) }, () => random(256));
        data = Uint8Array.from([...data, ...more]).subarray(0, MAX_INPUT);
        break;
      }
      default:
        data[0] = random(32);
    }
  }
  return data;
}

if (values.input !== undefined) {
  fuzz(readFileSync(values.input));
  process.exit();
}

const session = new Session();
session.connect();
/** Sends a command whose answer is there when the call returns. */
function post(method, parameters) {
  let answer;
  session.post(method, parameters, (error, result) => {
    if (error) throw new Error(`${method}: ${error.message}`);
    answer = result;
  });
  return answer;
}
post('Profiler.enable');
post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });

const known = new Set();
/** Which blocks ran since the last call. */
function blocks() {
  const ran = new Set();
  for (const { url, functions } of post('Profiler.takePreciseCoverage').result) {
    if (!url.includes('/virtio-queue/dist/')) continue;
    for (const { ranges } of functions) {
      for (const { startOffset, endOffset, count } of ranges) {
        if (count > 0) ran.add(`${url}:${startOffset}:${endOffset}`);
      }
    }
  }
  return ran;
}

/** Asking for coverage costs as much as this many runs. */
const BATCH = 32;

function run(data) {
  try {
    return fuzz(data);
  } catch (error) {
    const file = join(mkdtempSync(join(tmpdir(), 'ring-fuzz-')), 'input');
    writeFileSync(file, data);
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n${file}\n`);
    process.exit(1);
  }
}

const random = generator(Number(values.seed));
const corpus = [];
const outcomes = new Set();
for (let features = 0; features < 32; features++) corpus.push(seedInput(features, (features & 1) !== 0));
for (const data of corpus) outcomes.add(run(data));
for (const block of blocks()) known.add(block);
const end = performance.now() + Number(values.seconds) * 1000;
let runs = 0;
while (performance.now() < end) {
  const batch = Array.from({ length: BATCH }, () => mutate(random, corpus));
  for (const data of batch) {
    runs++;
    const outcome = run(data);
    if (!outcomes.has(outcome)) corpus.push(data);
    outcomes.add(outcome);
  }
  if ([...blocks()].every((block) => known.has(block))) continue;
  for (const data of batch) {
    run(data);
    const found = [...blocks()].filter((block) => !known.has(block));
    if (found.length > 0) corpus.push(data);
    for (const block of found) known.add(block);
  }
}
process.stdout.write(
  `seed ${values.seed}: ${runs} runs, ${corpus.length} inputs kept, ${known.size} blocks reached, no failure\n`,
);
