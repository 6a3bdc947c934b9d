import { ENOENT, type FuseAttrReply, type FuseHandler, S_IFDIR, S_IFREG } from '@vmm/virtio-devices';

const text = new TextEncoder().encode('hello\n');
const times = { atime: 0, atimensec: 0, mtime: 0, mtimensec: 0, ctime: 0, ctimensec: 0 };
const attr = (ino: number, mode: number): FuseAttrReply => ({
  attr: {
    ...times,
    ino,
    mode,
    size: text.length,
    blocks: 1,
    nlink: 1,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 4096,
  },
  attrValid: 1000,
});

/** A file system of one file. */
export const hello: FuseHandler = {
  description: 'hello',
  lookup: (_context, _parent, name) =>
    name === 'hello' ? { nodeId: 2, entryValid: 1000, ...attr(2, S_IFREG | 0o444) } : -ENOENT,
  getattr: (_context, node) => (node === 1 ? attr(1, S_IFDIR | 0o755) : attr(2, S_IFREG | 0o444)),
  open: () => ({ fh: 0, openFlags: 0 }),
  read: (_context, _node, _fh, offset, data) => {
    const bytes = text.subarray(offset, offset + data.length);
    data.store(bytes);
    return bytes.length;
  },
};
