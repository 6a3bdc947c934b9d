import { readFileSync } from 'node:fs';
import { httpDisk as compiled } from '../../examples/http-disk.ts';
import { RangeServer } from '../../test/block/range-server.ts';
import { pattern, TestDisk } from '../../test/block/test-disk.ts';
import type { BlockBackend } from '../block/backend.ts';
import * as blk from '../block/constants.ts';
import { OverlayBlockBackend } from '../block/overlay-backend.ts';

const SIZE = 256 * 1024;
/** The example uses the compiled package, whose classes are not these. */
const httpDisk = compiled as unknown as (url: string) => Promise<BlockBackend>;

let server: RangeServer;
beforeEach(async () => {
  server = await RangeServer.start(pattern(SIZE));
});
afterEach(() => server.close());

it('a disk on a web server is read in ranges', async () => {
  const backend = await httpDisk(server.url);
  expect([backend.sizeBytes, backend.readOnly]).toEqual([SIZE, true]);
  const disk = new TestDisk(backend);
  expect(await disk.read(100, 8)).toEqual(pattern(SIZE).slice(51200, 55296));
  expect(server.lengths).toEqual([4096]);
});

it('with an overlay it is written, and the server hears nothing of it', async () => {
  const disk = new TestDisk(new OverlayBlockBackend(await httpDisk(server.url)));
  await disk.write(1, new Uint8Array(512).fill(1));
  expect(server.lengths).toEqual([]);
  const expected = pattern(SIZE).slice(0, 2048);
  expected.fill(1, 512, 1024);
  expect(await disk.read(0, 4)).toEqual(expected);
  expect(server.lengths).toEqual([512, 1024]);
});

it('a server that is gone is an error of the request', async () => {
  const disk = new TestDisk(await httpDisk(server.url));
  await server.close();
  disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
  disk.kick();
  await disk.answers(1);
  expect(disk.device.statistics.errors).toBe(1);
  expect(disk.errors[0]).toContain(server.url);
  server = await RangeServer.start(new Uint8Array(512));
});

it('the README shows the example', () => {
  const example = readFileSync(new URL('../../examples/http-disk.ts', import.meta.url), 'utf8');
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  expect(readme).toContain(example);
});
