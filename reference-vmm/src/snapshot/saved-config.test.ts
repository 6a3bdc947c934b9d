import { resolve } from 'node:path';
import { MemoryBlockBackend } from '@vmm/virtio-devices';
import type { VmmConfig } from '../config.ts';
import { restoreConfig, saveConfig } from './saved-config.ts';

const config: VmmConfig = {
  name: 'demo',
  cpus: 2,
  memory: 64 << 20,
  transport: 'pci',
  disks: [{ path: 'disk.img', readOnly: undefined, overlay: { file: 'top.img' } }],
  networks: [{ kind: 'tap', interface: 'tap9', pcap: 'all.pcapng' }],
  shares: [{ directory: 'folder', tag: 'share' }],
  vsock: { cid: 3, path: 'vm.sock' },
  command: ['sh'],
  kernel: '/boot/vmlinuz',
};
const place = { name: 'other', hypervisor: 'wasm', arch: 'aarch64' } as const;
const withCode = (code: string, message: string): Error =>
  expect.objectContaining({ code, message: expect.stringContaining(message) as string }) as Error;

describe('the configuration in a snapshot', () => {
  it('has absolute paths, and makes the same machine and devices', () => {
    const restored = restoreConfig(saveConfig(config), {}, place);
    expect(restored).toEqual({
      name: 'other',
      hypervisor: 'wasm',
      arch: 'aarch64',
      cpus: 2,
      memory: 64 << 20,
      transport: 'pci',
      disks: [{ path: resolve('disk.img'), overlay: { file: resolve('top.img') } }],
      networks: [{ kind: 'tap', interface: 'tap9' }],
      shares: [{ directory: resolve('folder'), tag: 'share' }],
      vsock: { cid: 3, path: resolve('vm.sock') },
      devices: [],
      command: ['sh'],
      kernel: '/boot/vmlinuz',
    });
  });

  it('has what a reset starts again from, unless that is too large', () => {
    const guestFiles: VmmConfig['guestFiles'] = [
      { type: 'directory', path: 'opt', mode: 0o755 },
      { type: 'file', path: 'opt/x', data: Uint8Array.of(0, 255, 10) },
      { type: 'symlink', path: 'opt/y', target: 'x' },
    ];
    const { kernel, ...rest } = config;
    expect(saveConfig({ ...rest, kernel: 'Image' }).boot).toEqual({ kernel: resolve('Image') });
    expect(saveConfig({ ...rest, ...(kernel !== undefined && { kernel }) }).boot).toEqual({ kernel });
    const boot = { guestFiles, guestArchive: 'more.cpio', cmdline: 'quiet' };
    const restored = restoreConfig(saveConfig({ ...rest, ...boot }), {}, place);
    expect(restored).toMatchObject({ ...boot, guestArchive: resolve('more.cpio') });
    const large = [{ type: 'file' as const, path: 'large', data: new Uint8Array(9 << 20) }];
    expect(saveConfig({ ...rest, guestFiles: large }).boot).toBeUndefined();
  });

  it('says no to what is in memory of the process only', () => {
    const disks = [{ path: 'disk.img', overlay: 'memory' as const }];
    expect(() => saveConfig({ ...config, disks })).toThrow(withCode('NOT_SUPPORTED', 'disk 0'));
  });

  it('has places for objects, which are given anew', () => {
    const backend = new MemoryBlockBackend(new Uint8Array(512));
    const device = {
      create: (): never => {
        throw new Error('not called');
      },
    };
    const saved = saveConfig({ ...config, disks: [{ backend }], devices: [device] });
    expect(() => restoreConfig(saved, { devices: [device] }, place)).toThrow(
      withCode('SNAPSHOT_MISMATCH', 'disk 0'),
    );
    expect(() => restoreConfig(saved, { disks: [{ backend }] }, place)).toThrow(
      withCode('SNAPSHOT_MISMATCH', 'devices'),
    );
    const restored = restoreConfig(saved, { disks: [{ backend }], devices: [device] }, place);
    expect(restored.disks).toEqual([{ backend }]);
    expect(restored.devices).toEqual([device]);
  });

  it('with more devices than there can be takes no room for them', () => {
    const saved = { ...saveConfig(config), devices: 2 ** 53 - 1 };
    expect(() => restoreConfig(saved, {}, place)).toThrow(withCode('SNAPSHOT_MISMATCH', 'devices'));
  });

  it('takes replacements of the same number only', () => {
    const saved = saveConfig(config);
    expect(restoreConfig(saved, { disks: [{ path: '/copy' }] }, place).disks).toEqual([{ path: '/copy' }]);
    expect(() => restoreConfig(saved, { disks: [] }, place)).toThrow(
      withCode('SNAPSHOT_MISMATCH', 'disks: the guest has 1, not 0'),
    );
    expect(() => restoreConfig(saved, { vsock: { cid: 4 } }, place)).toThrow(
      withCode('SNAPSHOT_MISMATCH', 'CID 3'),
    );
  });
});
