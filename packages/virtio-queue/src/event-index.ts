/**
 * Whether going from index `old` to `next` passes the index that the other side named in its event field
 * (vring_need_event, VIRTIO 1.3 §2.7.7.2, §2.7.10.1). All are 16-bit and wrap.
 */
export function needEvent(event: number, next: number, old: number): boolean {
  return ((next - event - 1) & 0xffff) < ((next - old) & 0xffff);
}
