import { EOPNOTSUPP, ENOSYS, EROFS, FUSE_XATTR_MAX } from '../fs/constants.ts';
import { bytesToString, putString } from '../fs/names.ts';
import type { HostDirectorySettings } from './fs-options.ts';
import type { NativeFileSystem } from './native-fs.ts';

/** Extended attributes that a guest may see. Handles may be negative errors, which are answered. */
export class ExtendedAttributes {
  readonly #native: NativeFileSystem;
  readonly #settings: HostDirectorySettings;
  readonly #bytes = new Uint8Array(FUSE_XATTR_MAX);

  constructor(native: NativeFileSystem, settings: HostDirectorySettings) {
    this.#native = native;
    this.#settings = settings;
  }

  set(handle: number, name: string, value: Uint8Array, flags: number): number {
    if (!this.#isVisible(name)) return this.#none;
    if (this.#settings.readOnly) return -EROFS;
    return handle < 0 ? handle : this.#native.setxattr(handle, name, value, flags);
  }

  /** @returns bytes that are valid until the next call, or an error */
  get(handle: number, name: string): Uint8Array | number {
    if (!this.#isVisible(name)) return this.#none;
    if (handle < 0) return handle;
    const length = this.#native.getxattr(handle, name, this.#bytes);
    return length < 0 ? length : this.#bytes.subarray(0, length);
  }

  /** @returns bytes that are valid until the next call, or an error */
  list(handle: number): Uint8Array | number {
    if (this.#settings.xattrs === 'none') return this.#none;
    if (handle < 0) return handle;
    const length = this.#native.listxattr(handle, this.#bytes);
    if (length < 0) return length;
    const names = bytesToString(this.#bytes, 0, length).split('\0');
    const visible = names.filter((name) => name !== '' && this.#isVisible(name));
    const end = putString(visible.map((name) => `${name}\0`).join(''), this.#bytes, 0);
    return this.#bytes.subarray(0, end);
  }

  remove(handle: number, name: string): number {
    if (!this.#isVisible(name)) return this.#none;
    if (this.#settings.readOnly) return -EROFS;
    return handle < 0 ? handle : this.#native.removexattr(handle, name);
  }

  /** For those that the guest does not see: where there are none at all the driver need not ask again. */
  get #none(): number {
    return this.#settings.xattrs === 'none' ? -ENOSYS : -EOPNOTSUPP;
  }

  #isVisible(name: string): boolean {
    const { xattrs } = this.#settings;
    if (xattrs === 'all') return !name.startsWith('system.');
    return xattrs === 'user' && name.startsWith('user.');
  }
}
