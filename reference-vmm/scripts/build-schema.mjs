// Writes config.schema.json, what a file for `run --config` is, from the schema that reads it; --check only looks whether it is
// as it would be written. After a build.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { toJsonSchema } from '@valibot/to-json-schema';
import { runConfigSchema } from '../dist/cli/run-config/schema.js';

const FILE = fileURLToPath(new URL('../config.schema.json', import.meta.url));
const { $schema, ...schema } = toJsonSchema(runConfigSchema, { target: 'draft-07' });
const title = 'Configuration of a VM for reference-vmm run --config';
const text = `${JSON.stringify({ $schema, title, ...schema }, undefined, 2)}\n`;
if (!process.argv.includes('--check')) {
  writeFileSync(FILE, text);
} else if (readFileSync(FILE, 'utf8') !== text) {
  process.stderr.write(
    'config.schema.json is not up to date: npm run schema, in reference-vmm, after a build\n',
  );
  process.exitCode = 1;
}
