import { once } from 'node:events';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type { TreeItem } from '../agent/transfers.ts';
import { FakeVmm } from '../../test/fake-vmm.ts';
import { sendFiles } from './file-routes.ts';

it('a file is not read any more, when the client goes away while the guest is asked for more of it', async () => {
  const socket = new Socket().on('error', () => undefined);
  const response = new ServerResponse(new IncomingMessage(socket));
  response.on('error', () => undefined).assignSocket(socket);
  let left = false;
  async function* content(): AsyncGenerator<Uint8Array> {
    try {
      const closed = once(response, 'close');
      response.destroy();
      await closed;
      for (let piece = 0; piece < 16; piece++) yield new Uint8Array(65_536);
    } finally {
      left = true;
    }
  }
  async function* get(): AsyncGenerator<TreeItem, void, undefined> {
    await turn();
    const size = 1024 * 1024;
    yield { type: 'file', path: 'x', mode: 0o600, uid: 0, gid: 0, mtime: 0, size, content: content() };
  }
  const vmm = Object.assign(new FakeVmm(), { agent: { get, put: () => Promise.resolve() } });
  await sendFiles(vmm, response, new URL('http://localhost/v1/files?path=/x'));
  expect(left).toBe(true);
});
