import { Duplex } from 'node:stream';
import { AgentHarness, failure, firstLine } from '../../test/agent-harness.ts';
import { startAgentProgram } from '../../test/agent-program.ts';
import { Agent } from './agent.ts';

const guest = AgentHarness.use();

describe('requests', () => {
  it('that are malformed are refused before they are sent', async () => {
    await expect(guest.agent.addEntropy(new Uint8Array(0))).rejects.toEqual(failure('INVALID_REQUEST'));
    await expect(guest.agent.setClock(Number.NaN)).rejects.toEqual(failure('INVALID_REQUEST'));
    const network = { device: 'eth0', address: '10.0.0.1', prefix: 24 };
    await expect(guest.agent.setNetwork({ ...network, prefix: 33 })).rejects.toEqual(
      failure('INVALID_REQUEST'),
    );
    await expect(guest.agent.setNetwork({ ...network, address: '10.0.0.256' })).rejects.toEqual(
      failure('INVALID_REQUEST'),
    );
    expect(() => guest.agent.exec(['true']).kill(65)).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    );
  });

  it('that the system does not allow are refused with its reason', async () => {
    await expect(
      guest.agent.setNetwork({ device: 'no-such', address: '10.0.0.1', prefix: 24 }),
    ).rejects.toEqual(failure('GUEST_ERROR'));
  });
});

/** A stream whose end is not that of the one below. */
function borrowed(channel: Duplex): Duplex {
  const stream = new Duplex({
    read: () => undefined,
    write: (chunk: Uint8Array, _, callback) => void channel.write(chunk, callback),
    destroy: (error, callback) => {
      channel.off('data', take);
      callback(error);
    },
  });
  const take = (bytes: Uint8Array): void => void stream.push(bytes);
  channel.on('data', take);
  return stream;
}

describe('sessions', () => {
  it('follow one another on one stream, also from the middle of a frame', async () => {
    const { channel, end: finish } = startAgentProgram();
    // What an earlier session left: a frame that announces 60000 bytes, of which 100 have come.
    const left = Buffer.alloc(104);
    left.writeUInt32LE(60000);
    channel.write(left);
    // Of this stream another one is made for each session, so that it survives them.
    const first = Agent.attach(borrowed(channel));
    expect(await first.ready()).toEqual({ version: 1, arch: process.arch === 'x64' ? 'x86_64' : 'aarch64' });
    const orphan = first.exec(['sh', '-c', 'trap "" HUP; echo $$; exec sleep 1000']);
    const pid = await firstLine(orphan.stdout);
    const second = Agent.attach(borrowed(channel));
    first.end(new Error('replaced'));
    await expect(orphan.exit).rejects.toThrow('replaced');
    await second.ready();
    process.kill(Number(pid), 'SIGKILL');
    expect((await second.exec(['echo', 'again']).output()).stdout).toBe('again\n');
    await second[Symbol.asyncDispose]();
    expect(await finish()).toBe(0);
  });

  it('end with the agent, and tell all that is open', async () => {
    const { channel, end: finish } = startAgentProgram();
    const other = Agent.attach(channel);
    const { exit } = other.exec(['sleep', '1000']);
    const transfer = other.get('/no/such').next();
    await expect(transfer).rejects.toEqual(failure('GUEST_ERROR'));
    await finish();
    await expect(exit).rejects.toEqual(failure('AGENT_LOST'));
    expect(await other.closed).toEqual(failure('AGENT_LOST'));
    await expect(other.ready()).resolves.toBeDefined();
    await expect(other.ping()).rejects.toEqual(failure('AGENT_LOST'));
    await expect(other.exec(['true']).exit).rejects.toEqual(failure('AGENT_LOST'));
  });
});
