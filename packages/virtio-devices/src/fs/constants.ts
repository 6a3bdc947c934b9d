/** Virtio: VIRTIO 1.3 §5.11. */
export const VIRTIO_FS_TAG_BYTES = 36;
/** The queue of FORGET and INTERRUPT (§5.11.2). */
export const VIRTIO_FS_HIPRIO_QUEUE = 0;

/** FUSE: the names and numbers of Linux's `linux/fuse.h`. */
export const FUSE_KERNEL_VERSION = 7;
/** The minor version that is spoken at most. */
export const FUSE_KERNEL_MINOR_VERSION = 38;
/** The oldest minor version that is spoken: Linux 5.4, the first with virtio-fs. */
export const FUSE_MINIMUM_MINOR_VERSION = 31;
export const FUSE_ROOT_ID = 1;

export const FUSE_LOOKUP = 1;
export const FUSE_FORGET = 2;
export const FUSE_GETATTR = 3;
export const FUSE_SETATTR = 4;
export const FUSE_READLINK = 5;
export const FUSE_SYMLINK = 6;
export const FUSE_MKNOD = 8;
export const FUSE_MKDIR = 9;
export const FUSE_UNLINK = 10;
export const FUSE_RMDIR = 11;
export const FUSE_RENAME = 12;
export const FUSE_LINK = 13;
export const FUSE_OPEN = 14;
export const FUSE_READ = 15;
export const FUSE_WRITE = 16;
export const FUSE_STATFS = 17;
export const FUSE_RELEASE = 18;
export const FUSE_FSYNC = 20;
export const FUSE_SETXATTR = 21;
export const FUSE_GETXATTR = 22;
export const FUSE_LISTXATTR = 23;
export const FUSE_REMOVEXATTR = 24;
export const FUSE_FLUSH = 25;
export const FUSE_INIT = 26;
export const FUSE_OPENDIR = 27;
export const FUSE_READDIR = 28;
export const FUSE_RELEASEDIR = 29;
export const FUSE_FSYNCDIR = 30;
export const FUSE_CREATE = 35;
export const FUSE_INTERRUPT = 36;
export const FUSE_DESTROY = 38;
export const FUSE_BATCH_FORGET = 42;
export const FUSE_FALLOCATE = 43;
export const FUSE_READDIRPLUS = 44;
export const FUSE_RENAME2 = 45;
export const FUSE_LSEEK = 46;
export const FUSE_SYNCFS = 50;

/** Flags of INIT, bits 0 to 31. */
export const FUSE_ASYNC_READ: number = 1 << 0;
export const FUSE_ATOMIC_O_TRUNC: number = 1 << 3;
export const FUSE_BIG_WRITES: number = 1 << 5;
export const FUSE_AUTO_INVAL_DATA: number = 1 << 12;
export const FUSE_DO_READDIRPLUS: number = 1 << 13;
export const FUSE_READDIRPLUS_AUTO: number = 1 << 14;
export const FUSE_ASYNC_DIO: number = 1 << 15;
export const FUSE_PARALLEL_DIROPS: number = 1 << 18;
export const FUSE_MAX_PAGES: number = 1 << 22;
export const FUSE_CACHE_SYMLINKS: number = 1 << 23;
export const FUSE_HANDLE_KILLPRIV_V2: number = 1 << 28;

/** `fuse_setattr_in.valid`. */
export const FATTR_MODE: number = 1 << 0;
export const FATTR_UID: number = 1 << 1;
export const FATTR_GID: number = 1 << 2;
export const FATTR_SIZE: number = 1 << 3;
export const FATTR_ATIME: number = 1 << 4;
export const FATTR_MTIME: number = 1 << 5;
export const FATTR_FH: number = 1 << 6;
export const FATTR_ATIME_NOW: number = 1 << 7;
export const FATTR_MTIME_NOW: number = 1 << 8;
export const FATTR_CTIME: number = 1 << 10;
export const FATTR_KILL_SUIDGID: number = 1 << 11;

/** `fuse_open_out.open_flags`. */
export const FOPEN_KEEP_CACHE: number = 1 << 1;
export const FOPEN_CACHE_DIR: number = 1 << 3;

export const FUSE_GETATTR_FH: number = 1 << 0;
export const FUSE_FSYNC_FDATASYNC: number = 1 << 0;
export const FUSE_OPEN_KILL_SUIDGID: number = 1 << 0;
export const FUSE_WRITE_KILL_SUIDGID: number = 1 << 2;

/** Sizes of structures in bytes. */
export const FUSE_IN_HEADER_SIZE = 40;
export const FUSE_OUT_HEADER_SIZE = 16;
export const FUSE_ATTR_SIZE = 88;
export const FUSE_ENTRY_OUT_SIZE = 128;
export const FUSE_ATTR_OUT_SIZE = 104;
export const FUSE_OPEN_OUT_SIZE = 16;
export const FUSE_WRITE_IN_SIZE = 40;
export const FUSE_WRITE_OUT_SIZE = 8;
export const FUSE_STATFS_OUT_SIZE = 80;
export const FUSE_INIT_OUT_SIZE = 64;
export const FUSE_LSEEK_OUT_SIZE = 8;
export const FUSE_NAME_OFFSET = 24;

/** NAME_MAX: bytes of a name. */
export const FUSE_NAME_MAX = 255;
/** PATH_MAX: bytes of a symbolic link's target with its end. */
export const FUSE_PATH_MAX = 4096;
/** XATTR_SIZE_MAX and XATTR_LIST_MAX: bytes of an extended attribute, or of all their names. */
export const FUSE_XATTR_MAX = 65536;

/** File types and bits of `mode`, the same on all of Linux's architectures. */
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;

/** Flags of open(2) that are the same on arm64 and x86-64; the others differ and are ignored. */
export const O_ACCMODE = 0o3;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_DSYNC = 0o10000;
export const O_SYNC = 0o4010000;

export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;

/** Errors as Linux numbers them; answers are negative. */
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const E2BIG = 7;
export const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EEXIST = 17;
export const EXDEV = 18;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const EFBIG = 27;
export const ENOSPC = 28;
export const EROFS = 30;
export const EMLINK = 31;
export const ERANGE = 34;
export const ENAMETOOLONG = 36;
export const ENOSYS = 38;
export const ENOTEMPTY = 39;
export const ELOOP = 40;
export const ENODATA = 61;
export const EPROTO = 71;
export const EOVERFLOW = 75;
export const EOPNOTSUPP = 95;
export const ESTALE = 116;
