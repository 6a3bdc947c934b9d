import { codeOf, makeAnyRig } from '../../test/support.ts';
import { brokenChains } from './index.ts';

describe.each([
  { packed: false, indirect: false },
  { packed: false, indirect: true },
  { packed: true, indirect: true },
  { packed: true, indirect: false },
])('broken chains with %o', (ring) => {
  it.each(brokenChains(ring))('$name is refused with $code', ({ code, add }) => {
    const { driver, queue } = makeAnyRig({ size: 8, ...ring });
    add(driver);
    expect(queue.pop()).toBeNull();
    driver.publish();
    expect(codeOf(() => queue.pop())).toBe(code);
  });
});
