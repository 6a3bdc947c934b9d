// What run.mjs fuzzes: both rings in random guest memory. The input is a choice of ring and
// features, what guest memory holds at first, and then what device and driver do in turn.
import { GuestMemory } from '@vmm/vm-memory';
import { createQueue, restoreQueue, VirtioQueueError } from '@vmm/virtio-queue';

const RAM = 0x1000;
const GUARD = 64;
const RING = { descriptorArea: 0, driverArea: 0x200, deviceArea: 0x280 };
const MAX_SIZE = 32;
/** Where the input's image of guest memory goes: the areas of the ring, and tables and buffers behind them. */
const IMAGE = 0x600;
const GUARD_BYTE = 0x5a;

class Violation extends Error {}

function require(condition, what) {
  if (!condition) throw new Violation(what);
}

/** Pops, checks the chain, and reads and writes all of it. */
function serve(queue, memory, size, writable) {
  const chain = queue.pop();
  if (chain === null) return null;
  require(chain.length <= 2 * size, 'more pieces than descriptors');
  for (let i = 0; i < chain.length; i++) {
    const address = chain.address(i);
    require(memory.contains(address, chain.size(i)), 'a piece outside guest memory');
    if (chain.isWritable(i)) writable.fill(1, address, address + chain.size(i));
  }
  require(chain.readableBytes + chain.writableBytes <= size * RAM, 'more bytes than pieces can have');
  chain.reader.read(new Uint8Array(chain.readableBytes));
  chain.writer.fill(chain.writableBytes, 0xa5);
  return chain;
}

/**
 * @param {Uint8Array} data
 * @returns {string | undefined} what became of it, in short: inputs that differ here do different things
 */
export function fuzz(data) {
  if (data.length < 8) return;
  let at = 0;
  const byte = () => data[at++] ?? 0;
  const features = byte();
  const packed = (features & 1) !== 0;
  const size = packed ? (byte() % MAX_SIZE) + 1 : 1 << (byte() % 6);
  const config = {
    ...RING,
    size,
    packed,
    inOrder: (features & 2) !== 0,
    eventIdx: (features & 4) !== 0,
    indirect: (features & 8) !== 0,
  };
  const host = new Uint8Array(RAM + 2 * GUARD).fill(GUARD_BYTE);
  const ram = host.subarray(GUARD, GUARD + RAM).fill(0);
  const memory = new GuestMemory([{ guestAddress: 0, bytes: ram }]);
  if ((features & 16) !== 0) memory.enableDirtyTracking();
  const image = data.subarray(at, at + IMAGE);
  ram.set(image);
  at += image.length;
  /** What the device may write. */
  const writable = new Uint8Array(RAM);
  if (packed) writable.fill(1, 0, 16 * size);
  writable.fill(1, RING.deviceArea, RING.deviceArea + (packed ? 4 : 6 + 8 * size));
  let queue = createQueue(memory, config);
  let out = [];
  let broken;
  const counts = new Array(10).fill(0);
  for (let steps = 0; at < data.length && steps < 200; steps++) {
    const operation = byte();
    const before = ram.slice();
    let driver = false;
    try {
      switch (operation % 10) {
        case 0: {
          const chain = serve(queue, memory, size, writable);
          require(broken === undefined, 'a broken queue gave a chain');
          if (chain === null) break;
          out.push(chain);
          counts[0]++;
          break;
        }
        case 1: {
          if (out.length === 0) break;
          const [chain] = out.splice(byte() % out.length, 1);
          queue.addUsed(chain, Math.min(byte() * 16, chain.writableBytes));
          counts[1]++;
          break;
        }
        case 2: {
          const chain = out.at(-1);
          if (chain === undefined) break;
          queue.undoPop(chain);
          counts[2]++;
          out.pop();
          break;
        }
        case 3:
          queue.disableNotifications();
          break;
        case 4:
          queue.enableNotifications();
          break;
        case 5:
          if (queue.needsInterrupt()) counts[5]++;
          break;
        case 6:
          if ((operation & 16) !== 0) queue.deferUsed();
          else queue.publishUsed();
          break;
        case 7:
          counts[7]++;
          queue = restoreQueue(memory, JSON.parse(JSON.stringify(queue.save())));
          broken = undefined;
          out = [];
          break;
        default: {
          driver = true;
          const address = ((byte() << 8) | byte()) % RAM;
          if ((operation & 16) === 0) ram[address] = byte();
          else new DataView(ram.buffer, GUARD).setUint16(address % (RAM - 1), (byte() << 8) | byte(), true);
        }
      }
    } catch (error) {
      if (!(error instanceof VirtioQueueError)) throw error;
      if (operation % 10 === 0) {
        require(broken === undefined || broken === error, 'the error of a queue changed');
        broken = error;
      } else {
        require(error.code === 'CHAIN_NOT_OUT' || error.code === 'CHAINS_OUT', `${error.code} from no pop()`);
      }
    }
    if (driver || Buffer.compare(ram, before) === 0) continue;
    for (let i = 0; i < RAM; i++) {
      require(ram[i] === before[i] || writable[i] === 1, `byte ${i} was written`);
    }
  }
  for (let i = 0; i < GUARD; i++) {
    require(host[i] === GUARD_BYTE && host[GUARD + RAM + i] === GUARD_BYTE, 'a byte outside guest memory');
  }
  const buckets = counts.map((count) => Math.ceil(Math.log2(count + 1)));
  return `${features & 31} ${broken?.code ?? ''} ${buckets.join('')}`;
}
