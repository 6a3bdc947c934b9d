import * as fuse from '../fs/constants.ts';
import type { FuseAttrReply, FuseContext, FuseSetattr } from '../fs/handler.ts';
import type { FileTable } from './fs-files.ts';
import type { HostNode } from './fs-nodes.ts';
import type { HostDirectorySettings } from './fs-options.ts';
import type { HostStat } from './fs-stat.ts';
import { type NativeFileSystem, UNCHANGED_ID } from './native-fs.ts';

/** Special values of utimensat(2)'s nanoseconds. */
const UTIME_NOW = 0x3fff_ffff;
const UTIME_OMIT = 0x3fff_fffe;

/** What GETATTR tells and SETATTR changes. Errors are negative. */
export class HostAttributes {
  readonly #native: NativeFileSystem;
  readonly #settings: HostDirectorySettings;
  readonly #stat: HostStat;
  readonly #files: FileTable;

  constructor(native: NativeFileSystem, settings: HostDirectorySettings, stat: HostStat, files: FileTable) {
    this.#native = native;
    this.#settings = settings;
    this.#stat = stat;
    this.#files = files;
  }

  /** @param fd a handle or an open file */
  read(fd: number): FuseAttrReply | number {
    const error = this.#native.stat(fd, this.#stat.words);
    return error < 0 ? error : { attr: this.#stat.attr(), attrValid: this.#settings.validity };
  }

  change(node: HostNode, handle: number, changes: FuseSetattr): number {
    const { valid } = changes;
    let error = 0;
    if ((valid & fuse.FATTR_SIZE) !== 0) error = this.#truncate(node, handle, changes);
    if (error === 0 && (valid & (fuse.FATTR_UID | fuse.FATTR_GID)) !== 0)
      error = this.#chown(handle, changes);
    if (error === 0 && (valid & fuse.FATTR_MODE) !== 0) error = this.#chmod(node, handle, changes.mode);
    if (error === 0 && (valid & (fuse.FATTR_ATIME | fuse.FATTR_MTIME)) !== 0) {
      error = this.#utimens(handle, changes);
    }
    return error;
  }

  #truncate(node: HostNode, handle: number, changes: FuseSetattr): number {
    const native = this.#native;
    const kills = (changes.valid & fuse.FATTR_KILL_SUIDGID) !== 0;
    const open = (changes.valid & fuse.FATTR_FH) === 0 ? undefined : this.#files.get(changes.fh, node.id);
    if (typeof open === 'number') return open;
    const fd = open?.fd ?? native.open(handle, fuse.O_WRONLY, 0);
    if (fd < 0) return fd;
    if (kills) native.killPrivileges(fd);
    const error = native.truncate(fd, changes.size);
    if (open === undefined) native.close(fd);
    return error;
  }

  #chown(handle: number, { valid, uid, gid }: FuseSetattr): number {
    const native = this.#native;
    const error = native.stat(handle, this.#stat.words);
    if (error < 0) return error;
    const { uids, gids } = this.#settings;
    const setsUid = (valid & fuse.FATTR_UID) !== 0 && uids.toGuest(this.#stat.uid) !== uid;
    const setsGid = (valid & fuse.FATTR_GID) !== 0 && gids.toGuest(this.#stat.gid) !== gid;
    if (!setsUid && !setsGid) return 0;
    if ((setsUid && uids.squash) || (setsGid && gids.squash)) return -fuse.EPERM;
    const hostUid = setsUid ? uids.toHost(uid) : UNCHANGED_ID;
    const hostGid = setsGid ? gids.toHost(gid) : UNCHANGED_ID;
    if (hostUid === undefined || hostGid === undefined) return -fuse.EOVERFLOW;
    return native.chown(handle, hostUid, hostGid);
  }

  #chmod(node: HostNode, handle: number, mode: number): number {
    if (node.type === fuse.S_IFLNK) return -fuse.EOPNOTSUPP;
    const error = this.#native.stat(handle, this.#stat.words);
    if (error < 0) return error;
    const isDirectory = node.type === fuse.S_IFDIR;
    if (!isDirectory && isPrivileged(this.#settings, mode & 0o7777, this.#stat.mode)) return -fuse.EPERM;
    return this.#native.chmod(handle, mode & 0o7777);
  }

  #utimens(handle: number, changes: FuseSetattr): number {
    const nanoseconds = (set: number, now: number, value: number): number => {
      if ((changes.valid & set) === 0) return UTIME_OMIT;
      return (changes.valid & now) === 0 ? value : UTIME_NOW;
    };
    return this.#native.utimens(
      handle,
      changes.atime,
      nanoseconds(fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, changes.atimensec),
      changes.mtime,
      nanoseconds(fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, changes.mtimensec),
    );
  }
}

/** Whom a file that the guest makes belongs to on the host, or why it may not make one. */
export function ownerOfNew(
  settings: HostDirectorySettings,
  context: FuseContext,
  mode: number,
): { readonly uid: number; readonly gid: number } | number {
  if (settings.readOnly) return -fuse.EROFS;
  const uid = settings.uids.ofNew(context.uid);
  const gid = settings.gids.ofNew(context.gid);
  if (uid === undefined || gid === undefined) return -fuse.EOVERFLOW;
  return isPrivileged(settings, mode, 0) ? -fuse.EPERM : { uid, gid };
}

/** Whether a mode asks for more than the guest may give and a file has. */
function isPrivileged(settings: HostDirectorySettings, mode: number, present: number): boolean {
  if (settings.setuid || (mode & fuse.S_IFMT) === fuse.S_IFDIR) return false;
  return (mode & ~present & (fuse.S_ISUID | fuse.S_ISGID)) !== 0;
}
