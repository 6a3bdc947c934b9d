import { jest } from '@jest/globals';
import { EscapeFilter } from './terminal.ts';

const CTRL_BRACKET = '\x1d';

function filtered(): { push: (text: string) => void; sent: () => string; left: () => number } {
  let sent = '';
  let left = 0;
  const filter = new EscapeFilter(
    (bytes) => (sent += Buffer.from(bytes).toString('latin1')),
    () => (left += 1),
  );
  return { push: (text) => filter.push(Buffer.from(text, 'latin1')), sent: () => sent, left: () => left };
}

describe('EscapeFilter', () => {
  beforeEach(() => jest.useFakeTimers());
  afterEach(() => jest.useRealTimers());

  it('leaves at Ctrl-] twice, together or apart', () => {
    for (const keys of [[CTRL_BRACKET + CTRL_BRACKET], [CTRL_BRACKET, CTRL_BRACKET]]) {
      const filter = filtered();
      for (const key of keys) filter.push(key);
      expect(filter.left()).toBe(1);
      expect(filter.sent()).toBe('');
    }
  });

  it('passes a single Ctrl-] on when another key or time follows', () => {
    const filter = filtered();
    filter.push(`a${CTRL_BRACKET}b`);
    expect(filter.sent()).toBe(`a${CTRL_BRACKET}b`);
    filter.push(CTRL_BRACKET);
    expect(filter.sent()).toBe(`a${CTRL_BRACKET}b`);
    jest.runAllTimers();
    expect(filter.sent()).toBe(`a${CTRL_BRACKET}b${CTRL_BRACKET}`);
    expect(filter.left()).toBe(0);
  });
});
