import { createBlockBackend, type BlockBackend } from '@vmm/virtio-devices';

/** A disk image on a web server, read as the guest asks for it. */
export async function httpDisk(url: string): Promise<BlockBackend> {
  const head = await fetch(url, { method: 'HEAD' });
  if (!head.ok) throw new Error(`${url}: ${head.status} ${head.statusText}`);
  return createBlockBackend({
    sizeBytes: Number(head.headers.get('content-length')),
    description: url,
    async read(offset, length, signal) {
      const range = `bytes=${offset}-${offset + length - 1}`;
      const response = await fetch(url, { headers: { range }, signal });
      if (response.status !== 206) throw new Error(`${url}, ${range}: ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    },
  });
}
