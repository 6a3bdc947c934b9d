// Builds the addon into prebuilds/linux-ARCH; options are those of build-addon.mjs.
import { fileURLToPath } from 'node:url';
import { buildAddon } from '../../../scripts/build-addon.mjs';

buildAddon(fileURLToPath(new URL('..', import.meta.url)), 'KVM addon of @vmm/hypervisor');
