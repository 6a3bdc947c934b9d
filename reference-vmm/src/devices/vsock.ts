import { VirtioVsock } from '@vmm/virtio-devices';
import { VmmError } from '../errors.ts';
import { OptionList } from './option-list.ts';
import type { PreparedDevice } from './prepared.ts';

/** Sockets between host and guest. */
export interface VsockConfig {
  /** Address of the guest, 3 to 2^32 - 2. */
  readonly cid: number;
  /** Unix socket for other programs, with those of the host's listeners beside it. */
  readonly path?: string | undefined;
}

/** VMADDR_CID_HOST is 2; what is below and VMADDR_CID_ANY are reserved (VIRTIO 1.3 §5.10.4). */
const MIN_CID = 3;
const MAX_CID = 0xffff_fffe;
/** Bytes of `sun_path` with its NUL (unix(7)), less `_` and a port of ten digits. */
const MAX_PATH = 108 - 1 - 11;

/** @throws VmmError `INVALID_CONFIG` */
export function checkVsock({ cid, path }: VsockConfig): void {
  if (!(Number.isInteger(cid) && cid >= MIN_CID && cid <= MAX_CID))
    throw new VmmError(
      'INVALID_CONFIG',
      `vsock: CID ${cid} is out of range, ${MIN_CID} to ${MAX_CID} are possible`,
    );
  if (path !== undefined && (path === '' || new TextEncoder().encode(path).length > MAX_PATH))
    throw new VmmError('INVALID_CONFIG', `vsock: path "${path}" does not have 1 to ${MAX_PATH} bytes`);
}

/** Reads `CID[,path=SOCKET]`. @throws VmmError `INVALID_CONFIG` */
export function parseVsock(text: string): VsockConfig {
  const options = new OptionList('vsock', text);
  if (!/^\d+$/.test(options.value))
    throw options.error(`"${options.value}" is no CID, a number from ${MIN_CID} to ${MAX_CID}`);
  const config: VsockConfig = { cid: Number(options.value), path: options.text('path') };
  options.done();
  checkVsock(config);
  return config;
}

export function prepareVsock({ cid }: VsockConfig): PreparedDevice {
  return {
    name: 'vsock',
    drivers: ['vmw_vsock_virtio_transport'],
    create: () => new VirtioVsock({ guestCid: cid }),
    close: () => undefined,
  };
}
