import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { FORMAT_VERSION, type Manifest, decodeManifest, encodeManifest } from './manifest.ts';

const manifest: Manifest = {
  hypervisor: 'wasm',
  arch: 'aarch64',
  created: new Date(0).toISOString(),
  config: {
    name: 'demo',
    cpus: 1,
    memory: 16 << 20,
    disks: [{ path: '/disk', readOnly: true }, { backend: 'object' }],
    networks: [{ kind: 'user', tcp: [{ host: 8080, guest: 80 }] }, { kind: 'backend' }],
    shares: [{ directory: '/tmp' }],
    devices: 0,
  },
  cmdline: 'quiet',
  memory: {
    regions: [{ guestAddress: 0x4000_0000, size: 3 << 20 }],
    digests: ['0'.repeat(64), null],
    file: { device: '1', inode: '2', changed: '3' },
  },
  machine: { version: 1, bytes: Uint8Array.of(1, 2), clock: 2n ** 63n },
  devices: { control: '', devices: [{ name: 'console', state: { version: 1 } }] },
};

const withCode = (code: string, message = ''): Error =>
  expect.objectContaining({ code, message: expect.stringContaining(message) as string }) as Error;

/** The manifest with a change, under a checksum that fits: made by somebody who means harm. */
function forged(change: (snapshot: Record<string, unknown>) => unknown): string {
  const { version, snapshot } = JSON.parse(encodeManifest(manifest).text) as {
    version: number;
    snapshot: Record<string, unknown>;
  };
  const result = change(snapshot);
  const changed = result === undefined ? snapshot : result;
  const sha256 = createHash('sha256')
    .update(JSON.stringify([changed]))
    .digest('hex');
  return JSON.stringify({ version, sha256, snapshot: changed });
}

describe('the manifest of a snapshot', () => {
  it('comes back as it was', () => {
    const { text, sha256 } = encodeManifest(manifest);
    expect(decodeManifest(text)).toEqual({ manifest, sha256 });
    expect(decodeManifest(forged(() => undefined))).toEqual({ manifest, sha256 });
  });

  it('of a differential snapshot has its pages', () => {
    const difference = {
      base: { path: '../base', sha256: 'a'.repeat(64) },
      pages: [Uint32Array.of(0x8000_0001, ...new Array<number>(23).fill(0))],
    };
    const memory = { ...manifest.memory, digests: [null], difference };
    const { text } = encodeManifest({ ...manifest, memory });
    expect(decodeManifest(text).manifest.memory).toEqual(memory);
  });

  it.each<[string, (difference: Record<string, unknown>) => void, string]>([
    ['for another number of regions', (d) => void (d['pages'] = []), '0 sets of pages'],
    ['in too few bytes', (d) => void (d['pages'] = [{ $bytes: 'AAAA' }]), 'not as long'],
    ['that are none', (d) => void (d['pages'] = ['x']), 'not as long'],
    ['beyond the digests', (d) => void (d['pages'] = [{ $bytes: '/'.repeat(128) }]), 'digest'],
    ['on nothing', (d) => void (d['base'] = { path: '', sha256: 'a'.repeat(64) }), 'base.path'],
    ['on something without a checksum', (d) => void (d['base'] = { path: 'x', sha256: 'a' }), 'base.sha256'],
  ])('with pages %s is refused', (_, change, message) => {
    const text = forged((snapshot) => {
      const difference: Record<string, unknown> = {
        base: { path: '../base', sha256: 'a'.repeat(64) },
        pages: [{ $bytes: 'A'.repeat(128) }],
      };
      change(difference);
      snapshot['memory'] = { ...(snapshot['memory'] as object), digests: [], difference };
    });
    expect(() => decodeManifest(text)).toThrow(withCode('INVALID_SNAPSHOT', message));
  });

  it('with more memory than there is room for is refused before it takes any', () => {
    const text = forged((snapshot) => {
      const regions = [{ guestAddress: 0, size: 2 ** 52 }];
      const difference = { base: { path: 'x', sha256: 'a'.repeat(64) }, pages: [{ $bytes: '' }] };
      snapshot['memory'] = { ...(snapshot['memory'] as object), regions, digests: [], difference };
    });
    expect(() => decodeManifest(text)).toThrow(withCode('INVALID_SNAPSHOT', 'not as long'));
  });

  it('of another format version is refused, whatever it is like', () => {
    const text = JSON.stringify({ version: FORMAT_VERSION + 1, new: 'things' });
    expect(() => decodeManifest(text)).toThrow(
      withCode('SNAPSHOT_MISMATCH', `version ${FORMAT_VERSION + 1}`),
    );
  });

  it('that was cut at any place is refused', () => {
    const { text } = encodeManifest(manifest);
    for (let length = 0; length < text.length - 2; length += 7)
      expect(() => decodeManifest(text.slice(0, length))).toThrow(withCode('INVALID_SNAPSHOT'));
  });

  it('of which one character was altered is refused', () => {
    const text = encodeManifest(manifest).text.trimEnd();
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.constantFrom('0', 'x', '"', '}', '5'), (at, character) => {
        const altered = text.slice(0, at) + character + text.slice(at + 1);
        if (altered === text) return;
        expect(() => decodeManifest(altered)).toThrow(
          expect.objectContaining({
            code: expect.stringMatching(/INVALID_SNAPSHOT|SNAPSHOT_MISMATCH/) as string,
          }),
        );
      }),
      { numRuns: 500 },
    );
  });

  it.each<[string, (snapshot: Record<string, unknown>) => unknown, string]>([
    ['something that it has not', (s) => void (s['extra'] = 1), 'extra'],
    ['a hypervisor that there is not', (s) => void (s['hypervisor'] = 'xen'), 'hypervisor'],
    [
      'regions at odd addresses',
      (s) => void (s['memory'] = { regions: [{ guestAddress: 1, size: 4096 }], digests: [] }),
      'memory',
    ],
    ['no regions', (s) => void (s['memory'] = { regions: [], digests: [] }), 'memory'],
    ['too few digests', (s) => void ((s['memory'] as { digests: unknown[] }).digests = []), 'digest'],
    [
      'a digest that is none',
      (s) => void ((s['memory'] as { digests: unknown[] }).digests = ['x', null]),
      'digests',
    ],
    ['data that means nothing', (s) => void (s['machine'] = { $function: 'x' }), '$function'],
    [
      'devices without names',
      (s) => void (s['devices'] = { control: '', devices: [{ state: 1 }] }),
      'devices',
    ],
    ['no snapshot', () => null, ''],
    ['a number', () => 7, ''],
  ])('with %s is refused, though its checksum fits', (_, change, message) => {
    expect(() => decodeManifest(forged(change))).toThrow(withCode('INVALID_SNAPSHOT', message));
  });

  it.each(['null', '7', '[]', '{}', '""', '{"version":2}'])('%s is refused', (text) => {
    expect(() => decodeManifest(text)).toThrow(withCode('INVALID_SNAPSHOT'));
  });
});
