import { parseConsole } from '../console.ts';
import { parseBalloon } from '../../devices/balloon.ts';
import { parseDisk } from '../../devices/disk.ts';
import { parseNetwork } from '../../devices/network.ts';
import { parseShare } from '../../devices/share.ts';
import { parseVsock } from '../../devices/vsock.ts';
import { VmmError } from '../../errors.ts';
import { formatSize, parseSize } from '../../units.ts';
import { type RunKey, type Setting } from './schema.ts';

/** How the text of a flag is read; a text that is not here is its own value. */
const READERS: Partial<Readonly<Record<RunKey, (text: string) => unknown>>> = {
  cpus: (text) => (/^\d+$/.test(text) ? Number(text) : text),
  disk: parseDisk,
  net: parseNetwork,
  share: parseShare,
  vsock: parseVsock,
  balloon: (text) => {
    const { target = 0, ...options } = parseBalloon(text, parseSize);
    return { target: formatSize(target), ...options };
  },
  console: (text) => parseConsole(text) ?? 'stdio',
};

/**
 * What a flag says, in the form of the configuration.
 *
 * @param texts more than one for a flag that is given so often
 * @throws VmmError `INVALID_CONFIG`
 */
export function readFlag({ key, list }: Setting, texts: readonly string[]): unknown {
  const read = READERS[key] ?? ((text: string) => text);
  const values = texts.map((text) => read(text)).filter((value) => value !== undefined);
  // Without properties that are undefined, which the parsers leave.
  const plain: unknown = JSON.parse(JSON.stringify(values));
  return list === true || !Array.isArray(plain) ? plain : plain[0];
}

const SWITCH: Readonly<Record<string, boolean>> = {
  1: true,
  true: true,
  yes: true,
  on: true,
  0: false,
  false: false,
  no: false,
  off: false,
};

/** What a variable says of a flag without a value. @throws VmmError `INVALID_CONFIG` */
export function readSwitch(text: string): boolean {
  const value = SWITCH[text.toLowerCase()];
  if (value === undefined)
    throw new VmmError('INVALID_CONFIG', `"${text}" is none of 1, 0, true, false, yes, no, on, off`);
  return value;
}

/** The long name of a flag, without its dashes; undefined for what is no flag. */
export function longName({ flags }: Pick<Setting, 'flags'>): string | undefined {
  return /--([a-z-]+)/.exec(flags ?? '')?.[1];
}

/** The variable that says what a flag says. */
export function environmentName(setting: Pick<Setting, 'flags'>): string | undefined {
  const name = longName(setting);
  return name === undefined ? undefined : `REFERENCE_VMM_${name.toUpperCase().replaceAll('-', '_')}`;
}
