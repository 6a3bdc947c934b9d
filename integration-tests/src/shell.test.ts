import { jest } from '@jest/globals';
import { BOOT_TIMEOUT } from './support.ts';
import { Terminal } from './terminal.ts';

jest.setTimeout(BOOT_TIMEOUT);

describe('the interactive shell', () => {
  it('takes commands, follows the window size, passes Ctrl-C, and leaves at Ctrl-] twice', async () => {
    using terminal = new Terminal(['run']);
    await terminal.waitFor(/Ctrl-\] twice/);
    await terminal.waitFor(/~ #\s*$/m);
    terminal.type('echo $((6 * 7)) answers\n');
    await terminal.waitFor(/^42 answers/m);
    terminal.type('stty size\n');
    await terminal.waitFor(/^30 100/m);
    terminal.resize(90, 20);
    terminal.type('until [ "$(stty size)" = "20 90" ]; do usleep 10000; done; echo re\\sized\n');
    await terminal.waitFor(/^resized/m);
    terminal.type('cat\n');
    terminal.type('typed\n');
    await terminal.waitFor(/^typed\s+typed/m);
    terminal.press('C-c');
    terminal.type('echo interrupted=$?\n');
    await terminal.waitFor(/^interrupted=130/m);
    // At once: twice within a second is meant.
    terminal.press('C-]', 'C-]');
    const screen = await terminal.waitFor(/^code=0\s+1$/m);
    expect(screen).toContain('left');
  });

  it.each([
    ['poweroff', /the guest powered off[\s\S]*code=0/],
    ['reboot', /the guest rebooted[\s\S]*code=0/],
    ['exit', /code=0/],
  ])('ends properly at %s', async (command, pattern) => {
    using terminal = new Terminal(['run']);
    await terminal.waitFor(/~ #\s*$/m);
    terminal.type(`${command}\n`);
    await terminal.waitFor(pattern);
  });
});
