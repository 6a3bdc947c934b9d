import { Duplex } from 'node:stream';
import fc from 'fast-check';
import { Agent } from './agent.ts';
import { FRAME, type FrameType, Handshake, MAX_DATA, encodeFrame } from './frames.ts';
import { encodeEntry } from './messages.ts';

const lost: unknown = expect.objectContaining({ name: 'VmmError', code: 'AGENT_LOST' });
const MARK = 'VMM-AGENT-SYNC';
const HELLO = encodeFrame(FRAME.HELLO, 0, new Uint8Array([1, 0, 0x78, 0]));

/** An agent that says what the test tells it to, and keeps what it hears. */
class HostilePeer {
  readonly stream: Duplex;
  readonly heard: Buffer[] = [];
  /** Takes nothing of what the host writes. */
  deaf = false;
  readonly #greeting: Promise<Uint8Array>;

  constructor() {
    let greet: (answer: Uint8Array) => void = () => undefined;
    this.#greeting = new Promise((resolve) => {
      greet = resolve;
    });
    this.stream = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _, callback) => {
        const at = chunk.indexOf(MARK);
        if (at >= 0) greet(chunk.subarray(at));
        this.heard.push(chunk);
        if (!this.deaf) callback();
      },
    });
  }

  say(...parts: readonly Uint8Array[]): void {
    if (!this.stream.destroyed) this.stream.push(Buffer.concat(parts));
  }

  async greet(): Promise<void> {
    this.say(await this.#greeting, HELLO);
  }
}

async function meet(): Promise<{ peer: HostilePeer; agent: Agent }> {
  const peer = new HostilePeer();
  const agent = Agent.attach(peer.stream);
  await peer.greet();
  await agent.ready();
  return { peer, agent };
}

const frame = (type: FrameType, stream: number, ...bytes: readonly number[]): Uint8Array =>
  encodeFrame(type, stream, Uint8Array.from(bytes));
const entry = (size: number): Uint8Array =>
  encodeEntry({ type: 'file', path: 'a', mode: 0, uid: 0, gid: 0, mtime: 0, size });

describe('an agent that breaks the protocol', () => {
  it.each<[string, readonly Uint8Array[]]>([
    ['a stream that is not open', [frame(FRAME.EXIT, 99, 0, 0)]],
    ['a frame of the host', [frame(FRAME.EXEC, 1)]],
    ['an unknown type', [frame(77 as FrameType, 1)]],
    ['a second HELLO', [HELLO]],
    ['an exit twice', [frame(FRAME.EXIT, 1, 0, 0), frame(FRAME.EXIT, 1, 0, 0)]],
    ['an exit of an unknown kind', [frame(FRAME.EXIT, 1, 2, 0)]],
    ['an exit by signal 0', [frame(FRAME.EXIT, 1, 1, 0)]],
    ['a short exit', [frame(FRAME.EXIT, 1, 0)]],
    ['an end of file twice', [frame(FRAME.EOF, 1, 1), frame(FRAME.EOF, 1, 1)]],
    ['an end of input twice', [frame(FRAME.EOF, 1, 0), frame(FRAME.EOF, 1, 0)]],
    ['an end of no channel', [frame(FRAME.EOF, 1, 3)]],
    ['data behind the end', [frame(FRAME.EOF, 1, 2), frame(FRAME.DATA, 1, 2, 65)]],
    ['data of no channel', [frame(FRAME.DATA, 1, 7, 65)]],
    ['data of the input', [frame(FRAME.DATA, 1, 0, 65)]],
    ['data without a channel', [frame(FRAME.DATA, 1)]],
    ['credit that was not used', [frame(FRAME.CREDIT, 1, 0, 1, 0, 0, 0)]],
    ['credit of an output', [frame(FRAME.CREDIT, 1, 1, 0, 0, 0, 0)]],
    ['an error behind the exit', [frame(FRAME.EXIT, 1, 0, 0), frame(FRAME.ERROR, 1, 2, 0, 0, 0)]],
    [
      'more than there was credit for',
      Array.from({ length: 5 }, () => encodeFrame(FRAME.DATA, 1, Uint8Array.of(1), new Uint8Array(MAX_DATA))),
    ],
    ['a frame behind the last one', [frame(FRAME.ERROR, 1, 2, 0, 0, 0), frame(FRAME.EOF, 1, 1)]],
    ['an entry about a command', [encodeFrame(FRAME.ENTRY, 1, entry(0))]],
    ['a frame that is too long', [Uint8Array.of(0, 0, 2, 0)]],
    ['data of no file', [frame(FRAME.DATA, 2, 1, 65)]],
    ['more data than the file has', [encodeFrame(FRAME.ENTRY, 2, entry(1)), frame(FRAME.DATA, 2, 1, 65, 66)]],
    [
      'an entry within a file',
      [encodeFrame(FRAME.ENTRY, 2, entry(1)), encodeFrame(FRAME.ENTRY, 2, entry(1))],
    ],
    [
      'a tree in pieces of nothing',
      [encodeFrame(FRAME.ENTRY, 2, entry(1)), ...Array.from({ length: 9000 }, () => frame(FRAME.DATA, 2, 1))],
    ],
    ['a long answer', [frame(FRAME.DONE, 3, 0)]],
    ['data about a request', [frame(FRAME.DATA, 3, 1, 65)]],
  ])('by %s loses everything that is open', async (_, said) => {
    const { peer, agent } = await meet();
    const command = agent.exec(['x']);
    const tree = agent.get('/x');
    const first = tree.next();
    const ping = agent.ping();
    const settled = Promise.allSettled([first, ping]);
    peer.say(...said);
    expect(await agent.closed).toEqual(lost);
    expect(agent.failure).toEqual(lost);
    expect(peer.stream.destroyed).toBe(true);
    // What had been answered before the violation stays so.
    for (const result of await settled) if (result.status === 'rejected') expect(result.reason).toEqual(lost);
    await command.exit.then(
      (exit) => expect(exit).toEqual({ code: 0 }),
      (error: unknown) => expect(error).toEqual(expect.objectContaining({ name: 'VmmError' })),
    );
    await expect(agent.ping()).rejects.toEqual(lost);
  });

  it('before its greeting is found out, too', async () => {
    for (const said of [
      frame(FRAME.EXIT, 0, 0, 0),
      frame(FRAME.HELLO, 1, 1, 0, 0x78, 0),
      frame(FRAME.HELLO, 0, 9, 0, 0x78, 0),
      frame(FRAME.HELLO, 0, 1, 0, 0x1b, 0),
    ]) {
      const peer = new HostilePeer();
      const agent = Agent.attach(peer.stream);
      const mark = Buffer.concat(peer.heard);
      peer.say(mark.subarray(mark.indexOf(MARK)), said);
      await expect(agent.ready()).rejects.toEqual(lost);
    }
    const noisy = new HostilePeer();
    const agent = Agent.attach(noisy.stream);
    for (let i = 0; i < 40; i++) noisy.say(new Uint8Array(65536));
    await expect(agent.ready()).rejects.toEqual(lost);
  });

  it('that closes without a word is none', async () => {
    const peer = new HostilePeer();
    const agent = Agent.attach(peer.stream);
    peer.stream.destroy();
    await expect(agent.exec(['x']).exit).rejects.toEqual(expect.objectContaining({ code: 'NO_AGENT' }));
  });

  it('by any bytes does no more than end its session', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.uint8Array({ maxLength: 40 }),
            fc
              .tuple(
                fc.constantFrom(...(Object.values(FRAME) as FrameType[])),
                fc.integer({ min: 1, max: 4 }),
                fc.uint8Array({ maxLength: 12 }),
              )
              .map(([type, stream, payload]) => encodeFrame(type, stream, payload)),
          ),
          { maxLength: 20 },
        ),
        async (said) => {
          const { peer, agent } = await meet();
          const command = agent.exec(['x']);
          const reading = command.output();
          const results = Promise.allSettled([reading, command.exit, agent.get('/x').next(), agent.ping()]);
          peer.say(...said);
          peer.stream.push(null);
          await agent.closed;
          for (const result of await results)
            if (result.status === 'rejected') expect(result.reason).toMatchObject({ name: 'VmmError' });
        },
      ),
    );
  });
});

describe('memory', () => {
  it('is not spent byte by byte on output that nobody reads', async () => {
    const { peer, agent } = await meet();
    const command = agent.exec(['x']);
    const one = encodeFrame(FRAME.DATA, 1, Uint8Array.of(1, 65));
    const many = Buffer.concat(Array.from({ length: 1000 }, () => one));
    for (let i = 0; i < 262; i++) peer.say(many);
    await new Promise((resolve) => setImmediate(resolve));
    expect(agent.failure).toBeUndefined();
    peer.say(frame(FRAME.EOF, 1, 1));
    let size = 0;
    let chunks = 0;
    for await (const chunk of command.stdout as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      chunks++;
    }
    expect(size).toBe(262_000);
    expect(chunks).toBeLessThan(40);
    await agent[Symbol.asyncDispose]();
  });

  it('is not spent on credit for an agent that takes none', async () => {
    const { peer, agent } = await meet();
    const command = agent.exec(['x']);
    command.stdout.resume();
    peer.deaf = true;
    const before = peer.heard.length;
    const piece = encodeFrame(FRAME.DATA, 1, Uint8Array.of(1), new Uint8Array(MAX_DATA));
    for (let i = 0; i < 8 && agent.failure === undefined; i++) {
      peer.say(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    // It has used its window, and got one portion at most.
    expect(peer.heard.length - before).toBeLessThanOrEqual(1);
    expect(agent.failure === undefined || peer.stream.destroyed).toBe(true);
    await agent[Symbol.asyncDispose]();
  });

  it('is bounded for the greeting', () => {
    expect(new Handshake(new Uint8Array(16)).bytes.length).toBeLessThan(70_000);
  });
});
