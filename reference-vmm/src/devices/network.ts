import { type NetBackend, PcapRecorder, VirtioNet, type VirtioNetOptions } from '@vmm/virtio-devices';
import {
  PasstBackend,
  type PortForward as PasstPortForward,
  PcapFile,
  TapBackend,
} from '@vmm/virtio-devices/node';
import { VmmError } from '../errors.ts';
import { OptionList } from './option-list.ts';
import { type PreparedDevice, quoted } from './prepared.ts';
import { type RateConfig, checkRate, parseRate, rateLimiter } from './rate.ts';

/** How a network device is shown to the guest. */
export interface NetworkOptions extends RateConfig {
  /** Six bytes like `02:00:5e:10:00:01`, an individual address. Default: random. */
  readonly mac?: string | undefined;
  /** Most bytes of an IP packet, 68 to 65535. Default: the backend's, or the guest's own choice. */
  readonly mtu?: number | undefined;
  /** Queue pairs, 1 to 16. Default 1. */
  readonly queues?: number | undefined;
  /** File that all frames are recorded to (pcapng). */
  readonly pcap?: string | undefined;
  /**
   * How the built-in guest configures its interface: by DHCP, with an IPv4 address like `10.0.0.2/24`, or not at all.
   * Default: DHCP for user networking, otherwise not at all. The interface is up in any case.
   */
  readonly ip?: string | undefined;
  /** Default route of the built-in guest, with an address. */
  readonly gateway?: string | undefined;
}

/** A port of the host whose connections reach a port of the guest. */
export interface PortForward {
  readonly host: number;
  readonly guest: number;
  /** The host's address. Default: all of them. */
  readonly address?: string | undefined;
}

/** A network device. */
export type NetworkConfig = NetworkOptions &
  (
    | {
        /** A tap interface; one that is not there is made, and goes with the VM. */
        readonly kind: 'tap';
        /** Default: a name that the kernel chooses. */
        readonly interface?: string | undefined;
      }
    | {
        /** Through sockets of this user, by passt; no privileges are needed. */
        readonly kind: 'user';
        readonly tcp?: readonly PortForward[] | undefined;
        readonly udp?: readonly PortForward[] | undefined;
        /** The guest reaches servers on the host's loopback addresses, at the address of its gateway. Default false. */
        readonly hostLoopback?: boolean | undefined;
      }
    | {
        readonly kind: 'backend';
        readonly backend: NetBackend;
      }
  );

const MAX_QUEUES = 16;
const MIN_MTU = 68;
const MAX_MTU = 65535;
const MAX_PORT = 65535;
/** IPv6 has no smaller one (RFC 8200 §5). */
const PASST_MIN_MTU = 1280;
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;
/** IFNAMSIZ, and what Linux refuses in a name (dev_valid_name). */
const INTERFACE = /^(?!\.{1,2}$)[^\s/:]{1,15}$/;
const BYTE = '(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)';
const IPV4 = `${BYTE}(?:\\.${BYTE}){3}`;
const IP = new RegExp(`^(?:dhcp|none|${IPV4}/(?:[12]?\\d|3[0-2]))$`);
const ADDRESS = new RegExp(`^${IPV4}$`);

/** @throws VmmError `INVALID_CONFIG` */
export function checkNetwork(config: NetworkConfig, index: number): void {
  const refuse = (message: string): never => {
    throw new VmmError('INVALID_CONFIG', `net ${index}: ${message}`);
  };
  const integer = (name: string, value: number | undefined, minimum: number, maximum: number): void => {
    if (value !== undefined && !(Number.isInteger(value) && value >= minimum && value <= maximum))
      refuse(`${name} ${value} is out of range, ${minimum} to ${maximum} are possible`);
  };
  const { mac, mtu, queues, ip, gateway } = config;
  if (mac !== undefined && !MAC.test(mac)) refuse(`mac "${mac}" is no address like 02:00:5e:10:00:01`);
  if (mac !== undefined && (Number.parseInt(mac.slice(0, 2), 16) & 1) !== 0)
    refuse(`mac "${mac}" is a group's address: the first byte must be even`);
  integer('mtu', mtu, MIN_MTU, MAX_MTU);
  integer('queues', queues, 1, MAX_QUEUES);
  if (ip !== undefined && !IP.test(ip)) refuse(`ip "${ip}" is not dhcp, none or an address like 10.0.0.2/24`);
  if (gateway !== undefined && !ADDRESS.test(gateway)) refuse(`gateway "${gateway}" is no IPv4 address`);
  if (gateway !== undefined && (ip === undefined || ip === 'dhcp' || ip === 'none'))
    refuse('gateway needs an address of the interface: ip=10.0.0.2/24');
  if (config.kind === 'tap' && config.interface !== undefined && !INTERFACE.test(config.interface))
    refuse(
      `"${config.interface}" is no name of an interface: 1 to 15 characters without space, slash and colon`,
    );
  if (config.kind === 'user') {
    if (queues !== undefined && queues !== 1) refuse('user networking has one pair of queues');
    for (const forward of [...(config.tcp ?? []), ...(config.udp ?? [])]) {
      integer('port', forward.host, 1, MAX_PORT);
      integer('port', forward.guest, 1, MAX_PORT);
    }
  }
  checkRate(`net ${index}`, config);
}

/**
 * Reads `tap[=NAME]` or `user[,tcp=[ADDRESS:]HOST:GUEST][,udp=…][,host-loopback]`, and behind either `[,mac=…][,mtu=N][,queues=N]
 * [,pcap=FILE][,ip=dhcp|none|ADDRESS/BITS][,gateway=ADDRESS][,bandwidth=BYTES][,iops=N]`; `none`.
 *
 * @returns undefined for `none`
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseNetwork(text: string): NetworkConfig | undefined {
  const options = new OptionList('net', text);
  const [kind, name] = splitOnce(options.value, '=');
  if (kind === 'none' && name === undefined) {
    options.done();
    return undefined;
  }
  const config = ((): NetworkConfig => {
    if (kind === 'tap') {
      if (name === '') throw options.error('"tap=" names no interface');
      return { kind, interface: name, ...common(options) };
    }
    if (kind === 'user' && name === undefined) {
      const ports = (protocol: string): PortForward[] =>
        options.texts(protocol).map((each) => parseForward(options, protocol, each));
      const hostLoopback = options.flag('host-loopback');
      return { kind, tcp: ports('tcp'), udp: ports('udp'), hostLoopback, ...common(options) };
    }
    throw options.error(`"${options.value}" is not tap, tap=NAME, user or none`);
  })();
  options.done();
  checkNetwork(config, 0);
  return config;
}

function common(options: OptionList): NetworkOptions {
  return {
    mac: options.text('mac'),
    mtu: options.integer('mtu', MIN_MTU, MAX_MTU),
    queues: options.integer('queues', 1, MAX_QUEUES),
    pcap: options.text('pcap'),
    ip: options.text('ip'),
    gateway: options.text('gateway'),
    ...parseRate(options),
  };
}

function parseForward(options: OptionList, protocol: string, text: string): PortForward {
  const match = /^(?:(.+):)?(\d+):(\d+)$/.exec(text);
  const [, address, host, guest] = match ?? [];
  const ports = [Number(host), Number(guest)] as const;
  if (!ports.every((port) => port >= 1 && port <= MAX_PORT))
    throw options.error(
      `${protocol}=${text} is not HOST:GUEST or ADDRESS:HOST:GUEST with ports from 1 to 65535`,
    );
  return { host: ports[0], guest: ports[1], address };
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/** Commands of the built-in guest that set up its interface. */
export function networkSetup(config: NetworkConfig, index: number): string[] {
  const name = `eth${index}`;
  const ip = config.ip ?? (config.kind === 'user' ? 'dhcp' : 'none');
  const up = `ip link set ${name} up`;
  switch (ip) {
    case 'none':
      return [up];
    case 'dhcp':
      return [
        up,
        `udhcpc -i ${name} -n -q -S -t 5 -T 2 -A 1 >/dev/null 2>&1 || echo "no DHCP on ${name}" >/dev/console`,
      ];
    default:
      return [
        up,
        `ip addr add ${quoted(ip)} dev ${name}`,
        ...(config.gateway === undefined ? [] : [`ip route add default via ${config.gateway}`]),
      ];
  }
}

/** Opens the backend. @throws VirtioDeviceError */
export async function prepareNetwork(config: NetworkConfig, index: number): Promise<PreparedDevice> {
  const opened = await openBackend(config);
  let recording: PcapFile | undefined;
  try {
    recording = config.pcap === undefined ? undefined : new PcapFile(config.pcap);
  } catch (error) {
    await opened.close();
    throw error;
  }
  const backend = recording === undefined ? opened : new PcapRecorder(opened, { sink: recording.sink });
  return {
    name: `net${index}`,
    drivers: ['virtio_net'],
    setup: networkSetup(config, index),
    create: ({ debug }) =>
      new VirtioNet({
        backend,
        ...(config.mac === undefined ? {} : { mac: config.mac }),
        ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
        ...(config.queues === undefined ? {} : { queuePairs: config.queues }),
        ...limiters(config),
        onError: (error) => debug(error.message),
      }),
    close: async () => {
      await backend.close();
      recording?.close();
    },
  };
}

async function openBackend(config: NetworkConfig): Promise<NetBackend> {
  switch (config.kind) {
    case 'backend':
      return config.backend;
    case 'tap':
      return new TapBackend({
        ...(config.interface === undefined ? {} : { name: config.interface }),
        ...(config.queues === undefined ? {} : { queuePairs: config.queues }),
      });
    case 'user':
      return await PasstBackend.start({
        tcpPorts: forwards(config.tcp),
        udpPorts: forwards(config.udp),
        hostLoopback: config.hostLoopback ?? false,
        ...(config.mtu === undefined ? {} : { mtu: Math.max(config.mtu, PASST_MIN_MTU) }),
      });
  }
}

function forwards(ports: readonly PortForward[] = []): PasstPortForward[] {
  return ports.map(({ address, ...port }) => (address === undefined ? port : { ...port, address }));
}

/** Each direction has the whole rate for itself. */
function limiters(config: RateConfig): Pick<VirtioNetOptions, 'receiveLimiter' | 'transmitLimiter'> {
  const receiveLimiter = rateLimiter(config);
  const transmitLimiter = rateLimiter(config);
  return receiveLimiter === undefined || transmitLimiter === undefined
    ? {}
    : { receiveLimiter, transmitLimiter };
}
