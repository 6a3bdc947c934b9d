/** The candidate that a mistyped word most likely means; undefined when none is like it. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < least && distance < candidate.length) [best, least] = [candidate, distance];
  }
  return best;
}

/** Insertions, removals and replacements of single characters that make one word of the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 0; row < from.length; row++) {
    const current = [row + 1];
    for (let column = 1; column <= to.length; column++) {
      const replaced = previous[column - 1]! + (to[column - 1] === from[row] ? 0 : 1);
      current.push(Math.min(replaced, previous[column]! + 1, current[column - 1]! + 1));
    }
    previous = current;
  }
  return previous[to.length]!;
}
