// Coverage-guided fuzzing, for fuzz/run.mjs of packages: --seconds 60 --seed 1 --input FILE
// Inputs are kept when V8's block coverage of a package, or what they lead to, is new. What fails is written to a file in
// the temporary directory, and `--input` runs such a file alone.
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const INTERESTING = [0, 1, 2, 4, 7, 8, 15, 16, 31, 32, 0x7f, 0x80, 0x81, 0x84, 0xff];
/** Asking for coverage costs as much as this many runs. */
const BATCH = 32;

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

function mutate(random, corpus, { maxInput, special }) {
  let data = Uint8Array.from(corpus[random(corpus.length)]);
  for (let i = 1 + random(6); i > 0; i--) {
    const at = random(data.length);
    switch (random(8)) {
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
      case 4: {
        const other = corpus[random(corpus.length)];
        const from = random(other.length);
        data = Uint8Array.from([...data.subarray(0, at), ...other.subarray(from)]).subarray(0, maxInput);
        break;
      }
      case 5: {
        const more = Array.from({ length: 1 + random(12) }, () => random(256));
        data = Uint8Array.from([...data, ...more]).subarray(0, maxInput);
        break;
      }
      default:
        special(data, at, random);
    }
  }
  return data;
}

/**
 * @param {object} options
 * @param {string} options.name of the file that an input which fails is written to
 * @param {string} options.covered part of the URLs of the modules whose coverage counts
 * @param {readonly Uint8Array[]} options.seeds inputs to begin with
 * @param {number} options.maxInput bytes
 * @param {(data: Uint8Array, at: number, random: (below: number) => number) => void} options.special changes an input in
 *   the way of its format
 * @param {(data: Uint8Array) => unknown} options.fuzz throws (or rejects) when something is wrong; answers what became of
 *   the input, in short: inputs that differ here do different things
 */
export async function runFuzzer({ name, covered, seeds, maxInput, special, fuzz }) {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: '1' },
      input: { type: 'string' },
    },
  });
  if (values.input !== undefined) {
    await fuzz(readFileSync(values.input));
    return;
  }
  const session = new Session();
  session.connect();
  /** Sends a command whose answer is there when the call returns. */
  const post = (method, parameters) => {
    let answer;
    session.post(method, parameters, (error, result) => {
      if (error) throw new Error(`${method}: ${error.message}`);
      answer = result;
    });
    return answer;
  };
  post('Profiler.enable');
  post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  /** Which blocks ran since the last call. */
  const blocks = () => {
    const ran = new Set();
    for (const { url, functions } of post('Profiler.takePreciseCoverage').result) {
      if (!url.includes(covered)) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          if (count > 0) ran.add(`${url}:${startOffset}:${endOffset}`);
        }
      }
    }
    return ran;
  };
  const run = async (data) => {
    try {
      return await fuzz(data);
    } catch (error) {
      const file = join(mkdtempSync(join(tmpdir(), `${name}-`)), 'input');
      writeFileSync(file, data);
      process.stderr.write(`${error instanceof Error ? error.stack : error}\n${file}\n`);
      process.exit(1);
    }
  };

  const random = generator(Number(values.seed));
  const corpus = [...seeds];
  const outcomes = new Set();
  const known = new Set();
  for (const data of corpus) outcomes.add(await run(data));
  for (const block of blocks()) known.add(block);
  const end = performance.now() + Number(values.seconds) * 1000;
  let runs = 0;
  while (performance.now() < end) {
    const batch = Array.from({ length: BATCH }, () => mutate(random, corpus, { maxInput, special }));
    for (const data of batch) {
      runs++;
      const outcome = await run(data);
      if (!outcomes.has(outcome)) corpus.push(data);
      outcomes.add(outcome);
    }
    if ([...blocks()].every((block) => known.has(block))) continue;
    for (const data of batch) {
      await run(data);
      const found = [...blocks()].filter((block) => !known.has(block));
      if (found.length > 0) corpus.push(data);
      for (const block of found) known.add(block);
    }
  }
  process.stdout.write(
    `seed ${values.seed}: ${runs} runs, ${corpus.length} inputs kept, ${known.size} blocks reached, no failure\n`,
  );
}
