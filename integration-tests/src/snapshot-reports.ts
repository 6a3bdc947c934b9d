import type { CommandOutput, StopReason } from '@vmm/reference-vmm';

/** Of the guest's uptime, in seconds. */
const STEP = 0.01;

/** What the first life of a guest in rig/snapshot.mjs says. */
export interface FirstReport {
  readonly state: string;
  readonly lines: readonly string[];
  /** How many lines there were when either snapshot was asked for. */
  readonly before: number;
  readonly again: number;
  /** Seconds from its start until the second one was there. */
  readonly ran: number;
}

/** What a later one says. */
export interface SecondReport {
  readonly states: readonly string[];
  readonly lines: readonly string[];
  /** What came of a command by its agent. */
  readonly executed: CommandOutput;
  readonly end: StopReason;
  /** Seconds from its resumption until it counted for the first time. */
  readonly ran: number;
}

/** Numbers of lines like `count 7 …`. */
export function numbers(lines: readonly string[], word: string): number[] {
  return lines.filter((line) => line.startsWith(`${word} `)).map((line) => Number(line.split(' ')[1]));
}

function uptimes(lines: readonly string[]): number[] {
  return lines.filter((line) => line.startsWith('count ')).map((line) => Number(line.split(' ')[2]));
}

function consecutive(values: readonly number[]): boolean {
  return values.every((value, index) => index === 0 || value === values[index - 1]! + 1);
}

/** It goes on where it was when it was snapshotted for the second time, and ends as it was told. */
export function expectToGoOn(first: FirstReport, { states, lines, executed, end, ran }: SecondReport): void {
  expect(states).toEqual(['paused', 'running']);
  const counts = numbers(lines, 'count');
  // Where it was when it was snapshotted for the second time, and every number once.
  expect(counts[0]).toBeGreaterThan(numbers(first.lines.slice(0, first.again), 'count').at(-1)!);
  expect(counts[0]).toBeLessThanOrEqual(numbers(first.lines, 'count').at(-1)! + 1);
  expect(consecutive(counts)).toBe(true);
  const spins = numbers(lines, 'spin');
  expect(spins[0]).toBeGreaterThan(numbers(first.lines.slice(0, first.again), 'spin').at(-1)!);
  expect(spins.every((value, index) => index === 0 || value === spins[index - 1]! + 500)).toBe(true);
  // Its clock went on only while it ran: hundredths of seconds are what it tells.
  expect(uptimes(lines)[0]).toBeLessThan(first.ran + ran + STEP);
  expect(executed).toEqual({
    exit: { code: 3 },
    stdout: 'heard',
    stderr: expect.stringMatching(/^(x86_64|aarch64)\n$/) as string,
  });
  expect(lines.at(-1)).toBe('told end');
  expect(end).toEqual({ kind: 'exited', code: 7 });
}
