import type { NativeMemoryMap } from './native.ts';

/** The tap backend's part of the addon (native/tap.cc). */
export interface NativeTap {
  /**
   * Opens a queue of a tap interface with frames behind a 12-byte `virtio_net_hdr` (IFF_VNET_HDR), in the network
   * namespace of this thread. Creates the interface if there is none of that name.
   *
   * @param name at most 15 bytes; `%d` stands for a number that the kernel chooses
   * @param onReady called with {@link TAP_READABLE} and {@link TAP_WRITABLE} bits, once after `read()` or `write()` met
   *   the end, and after opening. Does not keep the event loop alive
   * @throws Error with `syscall` open, TUNSETIFF or TUNSETVNETHDRSZ
   */
  readonly TapQueue: new (
    name: string,
    multiQueue: boolean,
    onReady: (events: number) => void,
  ) => NativeTapQueue;
  /**
   * Two connected stream sockets, closed on exec; the caller closes them.
   *
   * @param bufferSize bytes that each keeps of what it sent, as far as the host lets this user
   */
  socketPair(bufferSize: number): readonly [number, number];
}

export const TAP_READABLE = 1;
export const TAP_WRITABLE = 2;

/** Why `read()` ended before it had all that was wanted; 0 when it refused too many on the way. */
export const TAP_NO_FRAMES = 1;
export const TAP_NO_ROOM = 2;

/** TUN_F_… of linux/if_tun.h. */
export const TUN_F_CSUM = 0x01;
export const TUN_F_TSO4 = 0x02;
export const TUN_F_TSO6 = 0x04;
export const TUN_F_TSO_ECN = 0x08;
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;

/**
 * A queue of an interface that was removed throws ENODEV.
 *
 * Chains are given as `iovecs`, pairs of guest address and length, and `ends`: chain `i` has the doubles from `ends[i]` to
 * `ends[i + 1]`. Those from `begin` to `end` are meant.
 */
export interface NativeTapQueue {
  /** Of the interface. */
  readonly name: string;
  /** There was no interface of that name before. */
  readonly made: boolean;
  /** Sets the interface's hardware address, 6 bytes (SIOCSIFHWADDR). */
  setAddress(address: Uint8Array): void;
  /** What the kernel may hand over (TUNSETOFFLOAD), TUN_F_…; for all queues of the interface. */
  setOffload(flags: number): void;
  setCarrier(up: boolean): void;
  setPersistent(persistent: boolean): void;
  /** Whether the kernel uses the queue (TUNSETQUEUE). */
  setEnabled(enabled: boolean): void;
  /** Sets the interface up if it is down. */
  setUp(): void;
  /** The interface's MTU in bytes. */
  mtu(): number;
  /**
   * Sends one frame for each chain, which begins with the header. Stops before one that the kernel has no room for.
   *
   * @param result [0] chains done, [1] those of them that the kernel refused
   */
  write(
    memory: NativeMemoryMap,
    iovecs: Float64Array,
    ends: Uint32Array,
    begin: number,
    end: number,
    result: Uint32Array,
  ): void;
  /**
   * Receives frames into chains, as many chains for one as it takes if `mergeable`; fills in `num_buffers`.
   *
   * @param wanted most frames
   * @param filter `ReceiveFilter.bytes`
   * @param result [0] {@link TAP_NO_FRAMES} (onReady follows), {@link TAP_NO_ROOM}, or 0; [1] frames that the filter
   *   refused; [2] frames for which a chain was too small; from [3] for each frame its bytes with the header, and its
   *   chains
   * @returns number of frames
   */
  read(
    memory: NativeMemoryMap,
    iovecs: Float64Array,
    ends: Uint32Array,
    begin: number,
    end: number,
    wanted: number,
    mergeable: boolean,
    filter: Uint8Array,
    result: Uint32Array,
  ): number;
  close(): void;
}
