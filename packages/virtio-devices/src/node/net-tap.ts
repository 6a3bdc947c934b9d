import type { GuestMemory } from '@vmm/vm-memory';
import { checkOption, messageOf, VirtioDeviceError, type VirtioDeviceErrorCode } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import type { NetBackend, NetBackendClient, NetBackendSetup } from '../net/backend.ts';
import * as net from '../net/constants.ts';
import type { ReceiveBuffers } from '../net/receive-buffers.ts';
import type { TransmitBatch } from '../net/transmit-batch.ts';
import { memoryMapOf, requireHost } from './load.ts';
import * as tap from './native-tap.ts';
import type { NativeHost, NativeMemoryMap } from './native.ts';

/** Most frames in one native call; the device wants fewer. */
const RESULT_FRAMES = 256;

/** First byte of addresses of the host's ends: locally administered, and above those that bridges take for their own. */
const HOST_BYTE = 0xfe;
const OTHER_HOST_BYTE = 0xfa;

const OFFLOADS = [
  net.VIRTIO_NET_F_CSUM,
  net.VIRTIO_NET_F_HOST_TSO4,
  net.VIRTIO_NET_F_HOST_TSO6,
  net.VIRTIO_NET_F_HOST_ECN,
  net.VIRTIO_NET_F_GUEST_CSUM,
  net.VIRTIO_NET_F_GUEST_TSO4,
  net.VIRTIO_NET_F_GUEST_TSO6,
  net.VIRTIO_NET_F_GUEST_ECN,
];
const USO = [net.VIRTIO_NET_F_HOST_USO, net.VIRTIO_NET_F_GUEST_USO4, net.VIRTIO_NET_F_GUEST_USO6];

export interface TapBackendOptions {
  /**
   * Of the interface, 1 to 15 characters. One that exists is used as it is, otherwise it is made and goes with
   * the backend. Default `vmtap%d`: the kernel puts in a number.
   */
  readonly name?: string;
  /** Queues, 1 to 16; more than one makes or needs a multi-queue interface. Default 1. */
  readonly queuePairs?: number;
  /** Whether an interface that is made here stays when the backend is closed. Default: left as it is. */
  readonly persistent?: boolean;
  /** Whether to set the interface up when it is down and this process may. Default true. */
  readonly up?: boolean;
}

/**
 * A tap interface of the host's kernel. Frames go between guest memory and the kernel without a copy in this
 * process, many in one native call, and with the kernel's offloads.
 *
 * Addresses, routes and bridges are the host's business.
 */
export class TapBackend implements NetBackend, Disposable {
  readonly description: string;
  /** Of the interface. */
  readonly name: string;
  readonly offloads: FeatureSet;
  readonly maximumQueuePairs: number;
  readonly mtu: number;
  readonly #host: NativeHost;
  readonly #queues: tap.NativeTapQueue[] = [];
  readonly #result = new Uint32Array(3 + 2 * RESULT_FRAMES);
  readonly #uso: boolean;
  #enabledQueues: number;
  #client: NetBackendClient | undefined;
  #memory: GuestMemory | undefined;
  #map: NativeMemoryMap | undefined;
  #failed = false;

  /**
   * Opens or makes an interface in the network namespace of this process.
   *
   * @throws VirtioDeviceError `INVALID_OPTION`, `NO_ADDON`, `NOT_FOUND`, `ACCESS_DENIED`, `IN_USE`, `IO_ERROR`
   */
  constructor(options: TapBackendOptions = {}) {
    const name = checkName(options.name ?? 'vmtap%d');
    const count = checkOption('queuePairs', options.queuePairs ?? 1, 1, 16);
    this.#host = requireHost('a tap interface');
    this.maximumQueuePairs = count;
    this.#enabledQueues = count;
    try {
      this.#open(name, count);
      const first = this.#queues[0]!;
      this.name = first.name;
      this.description = `tap ${first.name}`;
      this.#uso = tryOffload(first, tap.TUN_F_CSUM | tap.TUN_F_USO4 | tap.TUN_F_USO6);
      first.setOffload(0);
      this.mtu = first.mtu();
      if (options.persistent !== undefined) first.setPersistent(options.persistent);
      if (options.up !== false) setUp(first);
    } catch (cause) {
      this.close();
      throw cause instanceof VirtioDeviceError ? cause : openError(name, count, cause);
    }
    this.offloads = FeatureSet.of(...OFFLOADS, ...(this.#uso ? USO : []));
  }

  attach(client: NetBackendClient): void {
    if (this.#client !== undefined) {
      throw new VirtioDeviceError('WRONG_STATE', `${this.description} is another device's already`);
    }
    this.#client = client;
  }

  /**
   * An interface that was made here has the guest's address with another first byte, so that a guest which goes on with one
   * that was made anew still knows it.
   */
  guestAddress(mac: Uint8Array): void {
    const [first] = this.#queues;
    if (first?.made !== true) return;
    const address = mac.slice();
    address[0] = mac[0] === HOST_BYTE ? OTHER_HOST_BYTE : HOST_BYTE;
    try {
      first.setAddress(address);
    } catch (cause) {
      this.#fail(cause);
    }
  }

  configure(setup: NetBackendSetup | undefined): void {
    const [first] = this.#queues;
    if (first === undefined || this.#failed) return;
    try {
      first.setOffload(setup === undefined ? 0 : offloadFlags(setup.guestOffloads));
      this.#enable(setup?.queuePairs ?? 1);
    } catch (cause) {
      this.#fail(cause);
    }
  }

  transmit(pair: number, batch: TransmitBatch): void {
    const queue = this.#queues[pair];
    if (queue === undefined || this.#failed) {
      while (batch.remaining > 0) batch.drop();
      return;
    }
    const result = this.#result;
    try {
      queue.write(this.#mapOf(batch.memory), batch.iovecs, batch.ends, batch.begin, batch.end, result);
    } catch (cause) {
      this.#fail(cause);
      return;
    }
    batch.dropped += result[1]!;
    batch.advance(result[0]);
  }

  receive(pair: number, buffers: ReceiveBuffers): boolean {
    const queue = this.#queues[pair];
    if (queue === undefined || this.#failed) return false;
    const result = this.#result;
    const wanted = Math.min(buffers.wanted, RESULT_FRAMES);
    let frames: number;
    try {
      frames = queue.read(
        this.#mapOf(buffers.memory),
        buffers.iovecs,
        buffers.ends,
        buffers.free,
        buffers.end,
        wanted,
        buffers.mergeable,
        buffers.filter.bytes,
        result,
      );
    } catch (cause) {
      this.#fail(cause);
      return false;
    }
    for (let i = 0; i < frames; i++) buffers.occupied(result[3 + 2 * i]!, result[4 + 2 * i]!);
    buffers.filtered += result[1]!;
    buffers.tooLarge += result[2]!;
    if (result[0] === tap.TAP_NO_FRAMES) return false;
    if (result[0] !== tap.TAP_NO_ROOM) buffers.wanted = 0;
    return true;
  }

  /** Programs on the host see the interface without a carrier while the link is down. */
  linkChanged(up: boolean): void {
    try {
      this.#queues[0]?.setCarrier(up);
    } catch {
      // Kernels before 5.0 have no such call: there the host is not told.
    }
  }

  close(): void {
    for (const queue of this.#queues.splice(0)) queue.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(name: string, count: number): void {
    const open = (queueName: string, index: number, multiQueue: boolean): tap.NativeTapQueue =>
      new this.#host.TapQueue(queueName, multiQueue, (events) => this.#ready(index, events));
    let first: tap.NativeTapQueue;
    try {
      first = open(name, 0, count > 1);
    } catch (cause) {
      // An interface that was made for several queues takes a single one as well, if asked in this way.
      if (count > 1 || !isErrno(cause, 'EINVAL', 'TUNSETIFF')) throw cause;
      first = open(name, 0, true);
    }
    this.#queues.push(first);
    for (let index = 1; index < count; index++) this.#queues.push(open(first.name, index, true));
  }

  #ready(pair: number, events: number): void {
    if ((events & tap.TAP_READABLE) !== 0) this.#client?.readable(pair);
    if ((events & tap.TAP_WRITABLE) !== 0) this.#client?.writable(pair);
  }

  /** The kernel spreads flows over queues that are enabled. */
  #enable(count: number): void {
    const target = Math.min(count, this.#queues.length);
    for (; this.#enabledQueues > target; this.#enabledQueues--) {
      this.#queues[this.#enabledQueues - 1]!.setEnabled(false);
    }
    for (; this.#enabledQueues < target; this.#enabledQueues++) {
      this.#queues[this.#enabledQueues]!.setEnabled(true);
    }
  }

  #mapOf(memory: GuestMemory): NativeMemoryMap {
    if (this.#map === undefined || this.#memory !== memory) {
      this.#memory = memory;
      this.#map = memoryMapOf(this.#host, memory);
    }
    return this.#map;
  }

  #fail(cause: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#client?.failed(
      isErrno(cause, 'ENODEV') ? new Error('the interface was removed', { cause }) : cause,
    );
  }
}

function checkName(name: string): string {
  // What the kernel takes, and %d once.
  if (!/^(?!\.{1,2}$)[\x21-\x24\x26-\x2e\x30-\x39\x3b-\x7e]+(%d)?$/.test(name) || name.length > 15) {
    throw new VirtioDeviceError(
      'INVALID_OPTION',
      `name of a tap interface is 1 to 15 characters without spaces, "/" and ":", not "${name}"`,
    );
  }
  return name;
}

function offloadFlags(guest: FeatureSet): number {
  let flags = 0;
  if (guest.has(net.VIRTIO_NET_F_GUEST_CSUM)) flags |= tap.TUN_F_CSUM;
  if (guest.has(net.VIRTIO_NET_F_GUEST_TSO4)) flags |= tap.TUN_F_TSO4;
  if (guest.has(net.VIRTIO_NET_F_GUEST_TSO6)) flags |= tap.TUN_F_TSO6;
  const segments = (flags & (tap.TUN_F_TSO4 | tap.TUN_F_TSO6)) !== 0;
  if (segments && guest.has(net.VIRTIO_NET_F_GUEST_ECN)) flags |= tap.TUN_F_TSO_ECN;
  // The kernel takes both or none.
  if (guest.has(net.VIRTIO_NET_F_GUEST_USO4) && guest.has(net.VIRTIO_NET_F_GUEST_USO6)) {
    flags |= tap.TUN_F_USO4 | tap.TUN_F_USO6;
  }
  return flags;
}

function tryOffload(queue: tap.NativeTapQueue, flags: number): boolean {
  try {
    queue.setOffload(flags);
    return true;
  } catch {
    return false;
  }
}

function setUp(queue: tap.NativeTapQueue): void {
  try {
    queue.setUp();
  } catch (cause) {
    // Without the right to, it is the host's administrator who sets it up.
    if (!isErrno(cause, 'EPERM')) throw cause;
  }
}

function isErrno(error: unknown, code: string, syscall?: string): boolean {
  if (typeof error !== 'object' || error === null || !('code' in error) || error.code !== code) return false;
  return syscall === undefined || ('syscall' in error && error.syscall === syscall);
}

function openError(name: string, queuePairs: number, cause: unknown): VirtioDeviceError {
  const make = `"ip tuntap add dev ${name.replace('%d', '0')} mode tap user $USER vnet_hdr${queuePairs > 1 ? ' multi_queue' : ''}" as root`;
  const error = (code: VirtioDeviceErrorCode, text: string): VirtioDeviceError =>
    new VirtioDeviceError(code, `tap ${name}: ${text}`, { cause });
  const opening =
    typeof cause === 'object' && cause !== null && 'syscall' in cause && cause.syscall === 'open';
  if (opening && !isErrno(cause, 'EACCES') && !isErrno(cause, 'EPERM')) {
    return error('NOT_FOUND', 'there is no /dev/net/tun: load the module tun ("modprobe tun" as root)');
  }
  if (opening)
    return error('ACCESS_DENIED', 'this user may not open /dev/net/tun: make it readable and writable');
  if (isErrno(cause, 'EPERM')) {
    return error(
      'ACCESS_DENIED',
      `to make an interface needs CAP_NET_ADMIN: run as root, or make it with ${make}`,
    );
  }
  if (isErrno(cause, 'EBUSY')) {
    return error('IN_USE', 'another process has the interface: end it, or take another name');
  }
  if (isErrno(cause, 'E2BIG'))
    return error('IN_USE', 'the interface has no more queues: use fewer queuePairs');
  if (isErrno(cause, 'EINVAL', 'TUNSETIFF')) {
    return error(
      'IN_USE',
      queuePairs > 1
        ? `there is an interface of that name that is no tap for several queues: remove it and make it with ${make}`
        : 'there is an interface of that name that is no tap: take another name',
    );
  }
  return error('IO_ERROR', messageOf(cause));
}
