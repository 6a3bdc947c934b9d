import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { SETTINGS } from './schema.ts';

const FOLDER = fileURLToPath(new URL('../../..', import.meta.url));
const published: unknown = JSON.parse(readFileSync(`${FOLDER}/config.schema.json`, 'utf8'));

describe('config.schema.json', () => {
  it('is what the schema says', () => {
    const { stderr, status } = spawnSync(process.execPath, ['scripts/build-schema.mjs', '--check'], {
      cwd: FOLDER,
      encoding: 'utf8',
    });
    expect([stderr, status]).toEqual(['', 0]);
  });

  it('describes every key, and allows no others', () => {
    const { properties } = v.parse(
      v.object({
        properties: v.record(v.string(), v.object({ description: v.optional(v.string()) })),
        additionalProperties: v.literal(false),
      }),
      published,
    );
    expect(Object.keys(properties)).toEqual(['$schema', ...SETTINGS.map(({ key }) => key)]);
    for (const { key, description } of SETTINGS) {
      expect(description).not.toBe('');
      expect(properties[key]?.description).toBe(description);
    }
  });
});
