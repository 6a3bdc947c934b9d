import type { GuestMemoryRegion, Vm } from '@vmm/hypervisor';
import { GuestMemory } from '@vmm/vm-memory';
import { MAX_BASES, PageLog } from './page-log.ts';
import { eachPage } from './pages.ts';

const PAGE = 4096;
const BASE = 0x4000_0000;

/** What of a VM a log needs: stores of vCPUs are told by `store`. */
class Stores {
  readonly regions: readonly GuestMemoryRegion[];
  readonly memory: GuestMemory;
  #bits: Uint32Array | undefined;

  constructor() {
    this.regions = [{ guestAddress: BASE, bytes: new Uint8Array(64 * PAGE), readOnly: false }];
    this.memory = new GuestMemory(this.regions);
  }

  get dirtyLog(): boolean {
    return this.#bits !== undefined;
  }

  startDirtyLog(): void {
    if (this.#bits !== undefined) throw new Error('it is on');
    this.#bits = new Uint32Array(2);
  }

  stopDirtyLog(): void {
    this.#bits = undefined;
  }

  takeDirtyPages(): Uint32Array {
    if (this.#bits === undefined) throw new Error('it is off');
    const taken = this.#bits;
    this.#bits = new Uint32Array(2);
    return taken;
  }

  store(page: number): void {
    if (this.#bits !== undefined) this.#bits[page >>> 5]! |= 1 << (page & 31);
  }

  log(): PageLog {
    return new PageLog(this as Partial<Vm> as Vm, this.memory);
  }
}

describe('the log of pages', () => {
  let vm: Stores;
  let log: PageLog;

  beforeEach(() => {
    vm = new Stores();
    log = vm.log();
  });
  const changed = (id: string): number[] =>
    [...eachPage(log.changedSince(id))].map(({ offset }) => offset / PAGE);

  it('tells for each snapshot what vCPUs and the host stored to since', () => {
    vm.store(1);
    log.mark().commit('one');
    vm.store(2);
    vm.memory.writeUint8(BASE + 40 * PAGE, 1);
    expect(changed('one')).toEqual([2, 40]);
    // Nothing is forgotten by asking.
    expect(changed('one')).toEqual([2, 40]);
    const second = log.mark();
    vm.store(3);
    // It runs while the snapshot is written.
    second.commit('two');
    vm.store(63);
    expect(changed('two')).toEqual([3, 63]);
    expect(changed('one')).toEqual([2, 3, 40, 63]);
    expect(log.knows('three')).toBe(false);
  });

  it('loses nothing when a snapshot fails', () => {
    log.mark().commit('one');
    vm.store(1);
    const failed = log.mark();
    vm.store(2);
    failed.drop();
    failed.commit('two');
    expect(log.knows('two')).toBe(false);
    expect(changed('one')).toEqual([1, 2]);
  });

  it('is off, and costs nothing, when nobody asks', () => {
    expect(vm.dirtyLog).toBe(false);
    log.mark().drop();
    expect(vm.dirtyLog).toBe(false);
    expect(vm.memory.dirty).toBeUndefined();
    log.mark().commit('one');
    expect(vm.dirtyLog).toBe(true);
  });

  it('knows no snapshot after a reset, one that is being written among them', () => {
    log.mark().commit('one');
    const pending = log.mark();
    log.forget();
    pending.commit('two');
    pending.drop();
    expect([log.knows('one'), log.knows('two'), vm.dirtyLog]).toEqual([false, false, false]);
    vm.store(1);
    log.mark().commit('three');
    vm.store(2);
    expect(changed('three')).toEqual([2]);
  });

  it('keeps the snapshots that were made or asked for last', () => {
    for (let n = 0; n < MAX_BASES; n++) log.mark().commit(`${n}`);
    changed('0');
    log.mark().commit('more');
    expect([log.knows('0'), log.knows('1'), log.knows('2'), log.knows('more')]).toEqual([
      true,
      false,
      true,
      true,
    ]);
  });
});
