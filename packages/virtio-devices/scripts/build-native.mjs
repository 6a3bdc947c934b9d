// Builds the addon into prebuilds/linux-ARCH; options are those of build-addon.mjs.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon } from '../../../scripts/build-addon.mjs';

const require = createRequire(import.meta.url);

buildAddon(fileURLToPath(new URL('..', import.meta.url)), 'host addon of @vmm/virtio-devices', {
  addonApi: require.resolve('node-addon-api/package.json'),
  nodeGyp: require.resolve('node-gyp/bin/node-gyp.js'),
  prebuildify: join(dirname(require.resolve('prebuildify/package.json')), 'bin.js'),
});
