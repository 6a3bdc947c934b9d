/** Feature bits of the socket device, VIRTIO 1.3 §5.10.3. */
export const VIRTIO_VSOCK_F_STREAM = 0;
export const VIRTIO_VSOCK_F_SEQPACKET = 1;

/** Queues, §5.10.2; named as the driver sees them. */
export const VSOCK_RXQ = 0;
export const VSOCK_TXQ = 1;
export const VSOCK_EVENTQ = 2;

/** Bytes of `struct virtio_vsock_hdr`, §5.10.6. */
export const VIRTIO_VSOCK_HEADER_SIZE = 44;

/** Types of sockets, §5.10.6.3. */
export const VIRTIO_VSOCK_TYPE_STREAM = 1;
export const VIRTIO_VSOCK_TYPE_SEQPACKET = 2;

/** Operations, §5.10.6. */
export const VIRTIO_VSOCK_OP_REQUEST = 1;
export const VIRTIO_VSOCK_OP_RESPONSE = 2;
export const VIRTIO_VSOCK_OP_RST = 3;
export const VIRTIO_VSOCK_OP_SHUTDOWN = 4;
export const VIRTIO_VSOCK_OP_RW = 5;
export const VIRTIO_VSOCK_OP_CREDIT_UPDATE = 6;
export const VIRTIO_VSOCK_OP_CREDIT_REQUEST = 7;

/** Flags of OP_SHUTDOWN, §5.10.6.5: the sender will not receive, will not send any more. */
export const VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE = 1;
export const VIRTIO_VSOCK_SHUTDOWN_F_SEND = 2;

/** Flags of OP_RW for seqpacket sockets, §5.10.6.6: end of message, end of record. */
export const VIRTIO_VSOCK_SEQ_EOM = 1;
export const VIRTIO_VSOCK_SEQ_EOR = 2;

/** Id of the event that all connections are gone, §5.10.6.7. */
export const VIRTIO_VSOCK_EVENT_TRANSPORT_RESET = 0;
/** Bytes of `struct virtio_vsock_event`. */
export const VIRTIO_VSOCK_EVENT_SIZE = 4;

/** The host's well-known context id, §5.10.4. */
export const VMADDR_CID_HOST = 2;
/** The first context id that a guest can have; 0 to 2 are reserved. */
export const VMADDR_CID_FIRST_GUEST = 3;
/** No port; a socket that is bound to it gets any. */
export const VMADDR_PORT_ANY = 0xffff_ffff;
