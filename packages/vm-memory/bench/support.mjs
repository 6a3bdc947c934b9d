const ROUNDS = 201;
let sink = 0;

/**
 * Prints the time of one access, in nanoseconds: the least and the median of many rounds of `count`. Other work on
 * the machine moves the median. What `body` returns is kept, so that the optimiser drops nothing.
 */
export function measure(name, count, body) {
  for (let i = 0; i < 40; i++) body(count);
  const rounds = [];
  for (let i = 0; i < ROUNDS; i++) {
    const start = performance.now();
    sink += body(count) ?? 0;
    rounds.push(((performance.now() - start) * 1e6) / count);
  }
  rounds.sort((a, b) => a - b);
  process.stdout.write(
    `${name.padEnd(52)} ${rounds[0].toFixed(1).padStart(8)} ${rounds[(ROUNDS - 1) / 2].toFixed(1).padStart(8)} ns\n`,
  );
  if (Number.isNaN(sink)) throw new Error('the accesses read no numbers');
}
